//! Prometheus' text format, read: as much of it as is needed to add samples up.
//!
//! A page comes from a node, over a connection that may break. One that is not whole, or not of this format, is no page: what
//! is read of it would be taken for less than there is.

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'t> {
    /// The metric's name, with `_sum` or `_count` where it is a summary's.
    pub name: &'t str,
    /// The labels as they are written, without their braces.
    pub labels: &'t str,
    /// The value. A daemon that does not know it says `NaN`.
    pub value: f64,
}

/// Why a page cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It ends in the middle of a line.
    #[error("the page ends in the middle of a line")]
    CutOff,
    /// A line is none of the format's.
    #[error("line {number} is no metric: {line:?}")]
    Line {
        /// Counted from 1.
        number: usize,
        /// Its beginning.
        line: String,
    },
}

/// Every sample of a page, or none.
pub fn samples(page: &str) -> Result<Vec<Sample<'_>>, Unreadable> {
    if !page.is_empty() && !page.ends_with('\n') {
        return Err(Unreadable::CutOff);
    }
    let told = page.lines().enumerate().filter(|(_, line)| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with('#')
    });
    told.map(|(at, line)| {
        sample(line).ok_or_else(|| Unreadable::Line { number: at + 1, line: line.chars().take(80).collect() })
    })
    .collect()
}

/// `name{labels} value timestamp`, of which labels and timestamp may be absent.
fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    let name_ends = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(name_ends);
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => {
            let end = labels_end(rest)?;
            (&rest[..end], &rest[end + 1..])
        }
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    let timestamp = words.next().map(str::parse::<i64>);
    let is_whole = is_name(name) && timestamp.is_none_or(|at| at.is_ok()) && words.next().is_none();
    is_whole.then_some(Sample { name, labels, value })
}

fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !text.is_empty() && text.chars().all(word) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Where the brace is that ends the labels: not within a label's value.
fn labels_end(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Option<(String, String, f64)> {
        let page = format!("{line}\n");
        let read = samples(&page).ok()?;
        let [sample] = read[..] else { return None };
        Some((sample.name.to_owned(), sample.labels.to_owned(), sample.value))
    }

    #[test]
    fn lines_as_clients_write_them_are_read() {
        let told = |name: &str, labels: &str, value| Some((name.to_owned(), labels.to_owned(), value));
        assert_eq!(one("awscni_eni_max 3"), told("awscni_eni_max", "", 3.0));
        assert_eq!(one("a{fn=\"x\"} 1.5e3"), told("a", "fn=\"x\"", 1500.0));
        assert_eq!(one("a{fn=\"x\", b=\"y\",} 1 1700000000000"), told("a", "fn=\"x\", b=\"y\",", 1.0));
        assert_eq!(one("  a\t{}  +Inf "), told("a", "", f64::INFINITY));
        assert_eq!(one("a -Inf"), told("a", "", f64::NEG_INFINITY));
        assert!(one("a NaN").unwrap().2.is_nan());
        assert_eq!(one(r#"a{b="}\" {,",c="\\"} 2"#), told("a", r#"b="}\" {,",c="\\""#, 2.0));
    }

    #[test]
    fn what_is_no_sample_spoils_the_page() {
        for line in [
            "a",
            "a{b=\"c\" 1",
            "a{b=\"c} 1",
            "a b",
            "a 1 x",
            "a 1 2 3",
            "1a 1",
            "{a=\"b\"} 1",
            "ä 1",
            "<html>hello</html>",
            "{\"kind\": \"Status\"}",
        ] {
            let page = format!("good 1\n{line}\n");
            assert!(
                matches!(samples(&page), Err(Unreadable::Line { number: 2, .. })),
                "{line}: {:?}",
                samples(&page)
            );
        }
    }

    #[test]
    fn comments_and_empty_lines_are_passed_over_and_a_cut_page_is_refused() {
        let page = "# HELP a of a\n# TYPE a gauge\n\na 1\r\n# whatever\nb 2\n";
        assert_eq!(samples(page).unwrap().len(), 2);
        assert_eq!(samples(""), Ok(Vec::new()));
        // A value that lost its last digits is a value all the same.
        assert_eq!(samples("a 12\nb 12"), Err(Unreadable::CutOff));
    }
}
