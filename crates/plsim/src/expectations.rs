use plsim_observe::{Expectation, Number, Path, QueryError, Summary, Test, Value, Verdict};
use plsim_scenario::{Action, Diagnostic, Diagnostics, Expect, ExpectValue, Scenario, TimeSpan};
use plsim_types::Instant;

use crate::simulation::Simulation;
use crate::summarise;

/// An expectation of the scenario, ready to be judged.
#[derive(Debug)]
pub(crate) struct Expected {
    expectation: Expectation,
    because: Option<String>,
    /// What came of it, where its instant lies before the end of the run.
    verdict: Option<Verdict>,
}

impl Expected {
    fn judge(&self, summary: &Value) -> Verdict {
        let mut verdict = self.expectation.judge(summary);
        if verdict.note.is_none() {
            verdict.note.clone_from(&self.because);
        }
        verdict
    }
}

/// Reads the scenario's expectations.
///
/// # Errors
/// A diagnostic that points at the question or value that cannot be.
pub(crate) fn read(scenario: &Scenario) -> Result<Vec<Expected>, Diagnostics> {
    let entries = scenario.expect.iter().enumerate();
    entries
        .map(|(index, entry)| read_one(scenario, index, entry))
        .collect()
}

/// Checks that every question will have an answer: its rows exist before the run begins.
///
/// # Errors
/// A diagnostic that points at the question.
pub(crate) fn check(simulation: &Simulation) -> Result<(), Diagnostics> {
    let summary = summarise::summary(simulation).to_value();
    let scenario = &simulation.scenario;
    let nat_grows = scenario
        .event
        .iter()
        .any(|event| event.action == Action::AddNatIp);
    for (index, expected) in simulation.expected().iter().enumerate() {
        match expected.expectation.path.evaluate(&summary) {
            Err(QueryError::Rows { list, .. })
                if ["refusals", "membership_changes", "outages"].contains(&list.as_str()) => {}
            Err(QueryError::Rows { list, .. }) if list == "nat" && nat_grows => {}
            Err(error) => {
                let path = format!("expect[{index}].value");
                return Err(unanswerable(scenario, &path, &error)
                    .help("to experiment without expectations, run with --no-expect")
                    .into());
            }
            // What is null now may be a number later.
            Ok(Value::Null) => {}
            Ok(answer) => {
                if let Some(mismatch) = expected.expectation.mismatch(&answer) {
                    let path = format!("expect[{index}].equals");
                    return Err(scenario.error_at(&path, mismatch).into());
                }
            }
        }
    }
    Ok(())
}

/// Says what is wrong with a question, and what it probably means.
fn unanswerable(scenario: &Scenario, path: &str, error: &QueryError) -> Diagnostic {
    let found = scenario.error_at(path, error.to_string());
    let meant = match error {
        QueryError::UnknownKey { key, known, .. } => {
            plsim_scenario::nearest(key, known.iter().map(String::as_str))
        }
        _ => None,
    };
    match meant {
        Some(key) => found.help(format!("did you mean `{key}`?")),
        None => found,
    }
}

/// Returns the first instant at which something is expected that has not been judged.
pub(crate) fn next_instant(expected: &[Expected]) -> Option<Instant> {
    let waiting = expected.iter().filter(|one| one.verdict.is_none());
    waiting.filter_map(|one| one.expectation.at).min()
}

/// Judges what is expected at the instant that the run has reached.
pub(crate) fn judge_now(expected: &mut [Expected], now: Instant, summary: &Summary) {
    let summary = summary.to_value();
    for one in expected {
        if one.verdict.is_none() && one.expectation.at.is_some_and(|at| at <= now) {
            one.verdict = Some(one.judge(&summary));
        }
    }
}

/// Judges a finished run.
pub(crate) fn judge(simulation: &Simulation, summary: &Summary) -> Vec<Verdict> {
    let summary = summary.to_value();
    let judged = simulation.expected().iter();
    judged
        .map(|one| one.verdict.clone().unwrap_or_else(|| one.judge(&summary)))
        .collect()
}

fn read_one(scenario: &Scenario, index: usize, entry: &Expect) -> Result<Expected, Diagnostics> {
    let at = |key: &str| format!("expect[{index}].{key}");
    let path = Path::parse(&entry.value)
        .map_err(|error| Diagnostics::from(unanswerable(scenario, &at("value"), &error)))?;
    let number = |key: &str, value: &ExpectValue| {
        number(&path, value).ok_or_else(|| {
            let message = "this comparison needs a number or a time such as \"30s\"";
            Diagnostics::from(scenario.error_at(&at(key), message))
        })
    };
    let test = match (
        &entry.equals,
        &entry.at_least,
        &entry.at_most,
        &entry.between,
    ) {
        (Some(value), ..) => Test::Equals(wanted(&path, value)),
        (_, Some(value), ..) => Test::AtLeast(number("at_least", value)?),
        (_, _, Some(value), _) => Test::AtMost(number("at_most", value)?),
        (_, _, _, Some([low, high])) => {
            Test::Between(number("between", low)?, number("between", high)?)
        }
        (None, None, None, None) => {
            unreachable!("broken invariant: a checked expectation compares")
        }
    };
    let within = entry
        .within
        .as_ref()
        .map(|value| number("within", value))
        .transpose()?;
    let because = entry.because.clone();
    Ok(Expected {
        expectation: Expectation {
            path,
            test,
            within,
            at: entry.at.map(|at| Instant::ZERO + at.0),
        },
        because,
        verdict: None,
    })
}

/// Turns a value of the file into one of the summary: times of nanosecond keys may be written
/// with a unit.
fn wanted(path: &Path, value: &ExpectValue) -> Value {
    match (number(path, value), value) {
        (Some(number), _) => Value::Number(number),
        (None, ExpectValue::Bool(value)) => Value::Bool(*value),
        (None, ExpectValue::Text(text)) => Value::String(text.clone()),
        (None, ExpectValue::Integer(_) | ExpectValue::Float(_)) => Value::Null,
    }
}

fn number(path: &Path, value: &ExpectValue) -> Option<Number> {
    match value {
        ExpectValue::Integer(value) => Some((*value).into()),
        ExpectValue::Float(value) => Number::from_f64(*value),
        ExpectValue::Text(text) if path.is_time() => text
            .parse::<TimeSpan>()
            .ok()
            .map(|span| span.0.as_nanos().into()),
        ExpectValue::Text(_) | ExpectValue::Bool(_) => None,
    }
}
