//! What the rules' own tests share.

use crate::repo::Repo;

/// Checks that a rule is silent about one repository and finds something in another that names
/// `wanted`.
pub(crate) fn check<const N: usize, const M: usize>(
    rule: fn(&Repo) -> Vec<String>,
    good: [(&str, &str); N],
    bad: [(&str, &str); M],
    wanted: &str,
) {
    assert_eq!(rule(&Repo::of(good)), Vec::<String>::new());
    let findings = rule(&Repo::of(bad));
    assert!(
        findings.iter().any(|found| found.contains(wanted)),
        "no `{wanted}` in {findings:?}"
    );
}
