//! What a run says in words.

use plsim::numbers::counted;
use plsim::{Finding, Summary};

use crate::page::Page;
use crate::terminal::Styles;

/// The most findings with the same remedies that are told one by one.
const ALIKE: usize = 3;

/// The most remedies, each with its findings.
const MOST: usize = 16;

impl Page {
    /// What happened, and what would help: findings with the same remedies are told together.
    pub(crate) fn findings(&mut self, summary: &Summary) {
        if summary.findings.is_empty() {
            return;
        }
        self.section("What happened, and what would help", "");
        let kinds = kinds(&summary.findings);
        for kind in kinds.iter().take(MOST) {
            self.kind(kind);
        }
        let rest: usize = kinds.iter().skip(MOST).map(Vec::len).sum();
        if rest > 0 {
            let more = counted(rest as u64, "more finding");
            self.line(&format!("  ... {more}; summary.json has all"));
        }
    }

    fn kind(&mut self, kind: &[&Finding]) {
        let Styles { note, .. } = self.styles;
        let mark = format!("{note}!{note:#} ");
        for finding in kind.iter().take(ALIKE) {
            self.wrapped(&mark, &finding.what);
        }
        if kind.len() > ALIKE {
            let rest = counted((kind.len() - ALIKE) as u64, "more finding");
            let more = format!("{rest} with the same remedies; summary.json has all.");
            self.wrapped(&mark, &more);
        }
        for help in kind.iter().take(1).flat_map(|finding| &finding.help) {
            self.wrapped("  - ", help);
        }
    }
}

/// Puts findings with the same remedies together, where the first of them stands.
fn kinds(findings: &[Finding]) -> Vec<Vec<&Finding>> {
    let mut kinds: Vec<Vec<&Finding>> = Vec::new();
    for finding in findings {
        let is_same = |kind: &&mut Vec<&Finding>| kind[0].help == finding.help;
        match kinds.iter_mut().find(is_same) {
            Some(kind) => kind.push(finding),
            None => kinds.push(vec![finding]),
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use plsim::Finding;

    use super::kinds;

    #[test]
    fn findings_with_the_same_remedies_are_told_together() {
        let finding = |what: &str, help: &str| Finding {
            what: what.to_owned(),
            help: vec![help.to_owned()],
        };
        let all = [
            finding("orders: slow", "add VMs"),
            finding("vm: full", "add NAT IPs"),
            finding("stock: slow", "add VMs"),
        ];
        let told: Vec<Vec<&str>> = kinds(&all)
            .iter()
            .map(|kind| kind.iter().map(|finding| finding.what.as_str()).collect())
            .collect();
        assert_eq!(
            told,
            [vec!["orders: slow", "stock: slow"], vec!["vm: full"]]
        );
    }
}
