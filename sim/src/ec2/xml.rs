//! A writer of the small part of XML that EC2's answers use: elements and text, no attributes but one `xmlns`.
//!
//! Element names are given by this crate and are plain ASCII names; only text comes from outside, so only text is escaped.

/// XML under construction. Elements nest by closures, so what is opened is always closed.
#[derive(Debug, Default)]
pub(crate) struct Xml {
    out: String,
}

impl Xml {
    /// A document that starts with EC2's declaration.
    pub(crate) fn document() -> Self {
        Self { out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") }
    }

    /// The finished text.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// The root element of an answer, with its namespace.
    pub(crate) fn root(&mut self, name: &str, namespace: &str, inside: impl FnOnce(&mut Self)) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(" xmlns=\"");
        escape_into(&mut self.out, namespace);
        self.out.push_str("\">");
        inside(self);
        self.close(name);
    }

    /// An element holding other elements.
    pub(crate) fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        inside(self);
        self.close(name);
    }

    /// An element holding text. Numbers and booleans print as XML Schema has them.
    pub(crate) fn text(&mut self, name: &str, value: impl std::fmt::Display) {
        self.element(name, |x| escape_into(&mut x.out, &value.to_string()));
    }

    /// As [`Xml::text`], but nothing at all where there is no value.
    pub(crate) fn optional(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A list: a wrapper with one `<item>` per element. An empty list is an empty wrapper, as EC2 sends it.
    pub(crate) fn items<T>(
        &mut self,
        wrapper: &str,
        values: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        self.element(wrapper, |x| {
            for value in values {
                x.element("item", |x| each(x, value));
            }
        });
    }

    /// A list of plain values: `<wrapper><item>text</item></wrapper>`.
    pub(crate) fn texts<T: std::fmt::Display>(&mut self, wrapper: &str, values: impl IntoIterator<Item = T>) {
        self.items(wrapper, values, |x, value| escape_into(&mut x.out, &value.to_string()));
    }

    fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }
}

/// Appends `text` with the five special characters escaped. What XML 1.0 cannot carry at all (most control
/// characters) becomes U+FFFD: an answer that no parser reads would help nobody.
fn escape_into(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // A parser turns a bare carriage return into a line feed.
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(character),
            '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            control if u32::from(control) < 0x20 => out.push('\u{FFFD}'),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_nest_and_text_is_escaped() {
        let mut xml = Xml::default();
        xml.root("R", "http://ns/", |x| {
            x.text("a", "<&>\"'\u{1}");
            x.optional("none", None::<u8>);
            x.optional("b", Some(true));
            x.items("set", [1, 2], |x, n| x.text("n", n));
            x.texts("plain", ["p&q"]);
            x.items("empty", Vec::<u8>::new(), |_, _| ());
        });
        assert_eq!(
            xml.finish(),
            "<R xmlns=\"http://ns/\"><a>&lt;&amp;&gt;&quot;&apos;\u{FFFD}</a><b>true</b>\
             <set><item><n>1</n></item><item><n>2</n></item></set>\
             <plain><item>p&amp;q</item></plain><empty></empty></R>"
        );
    }
}
