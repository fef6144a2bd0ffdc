//! What the cluster is called in CloudWatch: its `CLUSTER_ID`.

use std::collections::BTreeMap;

/// The dimension of all figures.
pub const DIMENSION: &str = "CLUSTER_ID";
/// Tags of the instance that may say it, in this order.
pub const TAGS: &[&str] = &["eks:cluster-name", "CLUSTER_ID", "Name"];
/// What it is where nothing says it, as of the Amazon VPC CNI's helper.
pub const NOBODY_SAYS: &str = "k8s-cluster";

/// What is wrong with a text that is to be a dimension's value. The rules are CloudWatch's: 1 to 1024 characters of printable
/// ASCII, not all of them spaces, and no colon first.
pub fn refused(text: &str) -> Option<&'static str> {
    let printable = |c: char| c.is_ascii() && !c.is_ascii_control();
    if text.trim().is_empty() {
        Some("want a name")
    } else if text.len() > 1024 {
        Some("want at most 1024 characters")
    } else if text.starts_with(':') {
        Some("want a name that does not begin with a colon")
    } else if !text.chars().all(printable) {
        Some("want letters, digits and signs of ASCII only")
    } else {
        None
    }
}

/// What an instance's tags say. A tag that cannot be a dimension's value is passed over.
pub fn of_tags(tags: &BTreeMap<String, String>) -> String {
    let said = TAGS.iter().filter_map(|key| tags.get(*key)).find(|value| refused(value).is_none());
    said.map_or(NOBODY_SAYS, String::as_str).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tag_that_says_it_counts() {
        let of = |tags: &[(&str, &str)]| {
            of_tags(&tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(of(&[("Name", "n"), ("CLUSTER_ID", "c"), ("eks:cluster-name", "e")]), "e");
        assert_eq!(of(&[("Name", "n"), ("CLUSTER_ID", "c")]), "c");
        assert_eq!(of(&[("Name", "n"), ("eks:cluster-name", "")]), "n");
        assert_eq!(of(&[("Name", "größer")]), "k8s-cluster");
        assert_eq!(of(&[("other", "x")]), "k8s-cluster");
    }

    #[test]
    fn what_cloudwatch_would_refuse_is_refused_here() {
        for (text, is_refused) in [
            ("prod", false),
            ("a b:c/d", false),
            (&*"x".repeat(1024), false),
            ("", true),
            ("  ", true),
            (":a", true),
            ("a\nb", true),
            ("ä", true),
            (&*"x".repeat(1025), true),
        ] {
            assert_eq!(refused(text).is_some(), is_refused, "{text:?}");
        }
    }
}
