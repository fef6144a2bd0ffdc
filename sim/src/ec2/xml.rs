//! EC2's XML from a value that serde describes: a member is an element, a list a row of `<item>`, null is nothing.

use std::borrow::Cow;
use std::io;

use quick_xml::escape::escape;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use quick_xml::writer::Writer;
use serde_json::Value;

/// A whole document with this root, which is in `namespace` if there is one, and these objects' members, which come
/// object by object and otherwise in the order of their names.
pub(crate) fn document(root: &str, namespace: Option<&str>, content: &[Value]) -> String {
    let mut out = Writer::new(Vec::new());
    let mut start = BytesStart::new(root);
    start.extend_attributes(namespace.map(|namespace| ("xmlns", namespace)));
    let write = |out: &mut Writer<_>| {
        out.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        out.write_event(Event::Text(BytesText::from_escaped("\n")))?;
        out.write_event(Event::Start(start.borrow()))?;
        content.iter().try_for_each(|object| inside(out, object))?;
        out.write_event(Event::End(start.to_end()))
    };
    write(&mut out).expect("memory takes what is written");
    String::from_utf8(out.into_inner()).expect("names and text are UTF-8")
}

fn element(out: &mut Writer<Vec<u8>>, name: &str, value: &Value) -> io::Result<()> {
    if value.is_null() {
        return Ok(());
    }
    out.write_event(Event::Start(BytesStart::new(name)))?;
    inside(out, value)?;
    out.write_event(Event::End(BytesEnd::new(name)))
}

fn inside(out: &mut Writer<Vec<u8>>, value: &Value) -> io::Result<()> {
    let text = match value {
        Value::Object(members) => {
            return members.iter().try_for_each(|(name, value)| element(out, name, value));
        }
        Value::Array(items) => return items.iter().try_for_each(|item| element(out, "item", item)),
        Value::String(text) => escaped(text),
        other => other.to_string().into(),
    };
    out.write_event(Event::Text(BytesText::from_escaped(text)))
}

/// Text as XML carries it. What XML 1.0 cannot carry at all (most control characters) becomes U+FFFD: an answer that no
/// parser reads would help nobody.
fn escaped(text: &str) -> Cow<'_, str> {
    let carried = |c: char| c >= ' ' && !matches!(c, '\u{FFFE}' | '\u{FFFF}') || matches!(c, '\t' | '\n');
    let text = escape(text);
    if text.chars().all(carried) {
        return text;
    }
    text.chars().map(|c| if carried(c) { c } else { '\u{FFFD}' }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_elements_lists_are_items_and_null_is_nothing() {
        let content = json!({
            "flag": true, "none": null, "number": -3,
            "set": [{"n": 1}, {"n": 2}, {}], "plain": ["p&q"], "empty": [], "text": "",
        });
        assert_eq!(
            document("R", Some("http://ns/"), &[json!({ "z": "first" }), content]),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"http://ns/\"><z>first</z><empty></empty><flag>true</flag>\
             <number>-3</number><plain><item>p&amp;q</item></plain>\
             <set><item><n>1</n></item><item><n>2</n></item><item></item></set><text></text></R>"
        );
        assert!(document("R", None, &[]).ends_with("<R></R>"));
    }

    #[test]
    fn text_is_escaped_and_what_xml_cannot_carry_is_replaced() {
        let content = json!({ "t": "<&>\"'\u{1}\r\n\t\u{FFFF}é" });
        let written = document("R", None, &[content]);
        let expected = "<R><t>&lt;&amp;&gt;&quot;&apos;\u{FFFD}&#13;\n\t\u{FFFD}é</t></R>";
        assert!(written.ends_with(expected), "{written}");
    }
}
