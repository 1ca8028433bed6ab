//! Fills what a workload does not say with the defaults of its profile.

use crate::copies;
use crate::model::Profile;
use crate::source::Sources;
use crate::syntax::parse_document;
use crate::tree::{Entry, Tree, Value};
use crate::units::TimeSpan;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a profile has filled in: its name, and each key with its value as one would write it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filled {
    /// The profile.
    pub profile: String,
    /// As in `pool.size = 100`, in the order of the profile.
    pub keys: Vec<String>,
}

/// Keys that belong to one model: they are filled only if the workload has the model of its profile.
const OF_MODEL: [&str; 3] = ["pool", "reconnect_delay", "retry"];

/// Fills the workloads that name a profile; returns what was filled, for each workload. A profile
/// that does not exist is left to the checks.
pub(crate) fn fill(tree: &mut Tree, sources: &mut Sources) -> Vec<Option<Filled>> {
    let Value::Table(sections) = &mut tree.value else {
        return Vec::new();
    };
    let Some(Value::Array(workloads)) = sections
        .get_mut("workload")
        .map(|entry| &mut entry.tree.value)
    else {
        return Vec::new();
    };
    let filled = workloads.iter_mut().flat_map(|workload| {
        let filled = of_one(workload, sources);
        std::iter::repeat_n(filled, copies::count(workload))
    });
    filled.collect()
}

fn of_one(workload: &mut Tree, sources: &mut Sources) -> Option<Filled> {
    let named = &workload.entry("profile")?.tree;
    let profile = Profile::deserialize(named).ok()?;
    let name = workload.text("profile")?.to_owned();
    let source = sources.push(&format!("profile {name}"), profile.keys());
    let defaults = parse_document(profile.keys(), source).ok()?;
    let model = |tree: &Tree| tree.text("model").map(str::to_owned);
    let own = model(workload);
    let is_other = own.is_some() && own != model(&defaults);
    let Value::Table(mut defaults) = defaults.value else {
        return None;
    };
    if is_other {
        OF_MODEL.iter().for_each(|key| drop(defaults.remove(*key)));
    }
    if let Some(pool) = defaults.get_mut("pool") {
        give_way(workload.entry("pool").map(|own| &own.tree), pool);
    }
    let mut keys = Vec::new();
    if let Value::Table(table) = &mut workload.value {
        merge(table, defaults, "", sources, &mut keys);
    }
    Some(Filled {
        profile: name,
        keys,
    })
}

/// Lets the defaults of a pool give way that contradict what is written: an idle time that no connection
/// lives for is none, as in HikariCP; a small pool keeps all its connections; and without tests none has
/// to be due.
fn give_way(own: Option<&Tree>, defaults: &mut Entry) {
    let (Some(own), Value::Table(defaults)) = (own, &mut defaults.tree.value) else {
        return;
    };
    let written = |key: &str| own.entry(key).map(|entry| &entry.tree);
    let span = |tree: &Tree| TimeSpan::deserialize(tree).ok();
    let idle = defaults.get("max_idle").and_then(|idle| span(&idle.tree));
    let life = written("max_lifetime").and_then(span);
    if life.is_some_and(|life| idle.is_some_and(|idle| life < idle)) {
        defaults.remove("max_idle");
    }
    if let (Some(size), Some(kept)) = (written("size"), defaults.get_mut("min_idle"))
        && let (Value::Integer(most), Value::Integer(count)) = (&size.value, &kept.tree.value)
        && most < count
    {
        kept.tree = size.clone();
    }
    if written("validation").is_some_and(|tests| matches!(tests.value, Value::Bool(false))) {
        defaults.remove("validate_after_idle");
        if written("keepalive_time").is_none() && !defaults.contains_key("keepalive_time") {
            defaults.remove("validation_timeout");
        }
    }
}

/// Adds the entries that are not there; tables are filled in turn.
fn merge(
    table: &mut BTreeMap<String, Entry>,
    defaults: BTreeMap<String, Entry>,
    path: &str,
    sources: &Sources,
    keys: &mut Vec<String>,
) {
    for (key, default) in defaults {
        let path = format!("{path}{key}");
        match default.tree.value {
            Value::Table(inner) => {
                let entry = table.entry(key).or_insert_with(|| Entry {
                    key: default.key,
                    tree: Tree {
                        span: default.tree.span,
                        value: Value::Table(BTreeMap::new()),
                    },
                });
                if let Value::Table(own) = &mut entry.tree.value {
                    merge(own, inner, &format!("{path}."), sources, keys);
                }
            }
            _ if table.contains_key(&key) => {}
            _ => {
                keys.push(format!("{path} = {}", sources.text(default.tree.span)));
                table.insert(key, default);
            }
        }
    }
}
