//! The images that the suite names, and which of ours stand for them.

use crate::build::{Archive, PAUSE, SUITE_IMAGE, WEB_IMAGE};

/// Whose images they are. The suite also names images that are not to be had, to see what comes of it.
const REGISTRY: &str = "registry.k8s.io/";

/// What stands for which, by the last part of the name.
const STAND_INS: [(&str, Archive); 6] = [
    ("agnhost", SUITE_IMAGE),
    ("busybox", SUITE_IMAGE),
    ("glibc-dns-testing", SUITE_IMAGE),
    // The same before 1.36.
    ("jessie-dnsutils", SUITE_IMAGE),
    ("nginx", WEB_IMAGE),
    ("pause", PAUSE),
];

/// From what `e2e.test --list-images` says: each image of ours with the names that it is to have.
pub(super) fn names(said: &str) -> Vec<(Archive, Vec<String>)> {
    let mut all: Vec<(Archive, Vec<String>)> = Vec::new();
    for name in said.lines().map(str::trim).filter(|line| line.starts_with(REGISTRY)) {
        let last = name.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or_default();
        let Some((_, archive)) = STAND_INS.iter().find(|(image, _)| *image == last) else { continue };
        match all.iter_mut().find(|(known, _)| known == archive) {
            Some((_, names)) if names.iter().any(|known| known == name) => {}
            Some((_, names)) => names.push(name.to_owned()),
            None => all.push((*archive, vec![name.to_owned()])),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_all_names_that_the_suite_may_call_it() {
        let said = "registry.k8s.io/e2e-test-images/agnhost:2.66.1\n\
                    registry.k8s.io/e2e-test-images/agnhost:2.55\n\
                    registry.k8s.io/e2e-test-images/agnhost:2.55\n\
                    registry.k8s.io/e2e-test-images/httpd:2.4.38-4\n\
                    invalid.registry.k8s.io/invalid/agnhost:2.6\n\
                    registry.k8s.io/pause:3.10.2\n";
        let expected = [
            (
                SUITE_IMAGE,
                vec![
                    "registry.k8s.io/e2e-test-images/agnhost:2.66.1".to_owned(),
                    "registry.k8s.io/e2e-test-images/agnhost:2.55".to_owned(),
                ],
            ),
            (PAUSE, vec!["registry.k8s.io/pause:3.10.2".to_owned()]),
        ];
        assert_eq!(names(said), expected);
    }
}
