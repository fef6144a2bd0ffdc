use std::net::Ipv4Addr;

use serde::Deserialize;

use crate::ec2::fields::Fields;
use crate::ec2::refusal::Refusal;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sample {
    #[serde(default)]
    id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    text: Option<String>,
    count: Option<i64>,
    #[serde(default)]
    flag: bool,
    address: Option<Ipv4Addr>,
    attribute: Option<Attribute>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    name: String,
    #[serde(default)]
    value: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attribute {
    value: String,
}

fn read(text: &str) -> Result<Sample, Refusal> {
    Fields::parse(text.as_bytes())?.read(Sample::deserialize)
}

/// Code and words of the refusal.
fn refused(text: &str) -> (&'static str, String) {
    let refusal = read(text).expect_err(text);
    (refusal.code, refusal.message)
}

#[test]
fn lists_come_in_numeric_order_and_structures_nest() {
    let sample =
        read("Id.10=c&Id.2=b&Id.1=a&Filter.1.Name=vpc-id&Filter.1.Value.1=x%26y+z&Attribute.Value=v")
            .unwrap();
    let filter = Filter { name: "vpc-id".to_owned(), value: vec!["x&y z".to_owned()] };
    let id = ["a", "b", "c"].map(str::to_owned).into();
    let attribute = Some(Attribute { value: "v".to_owned() });
    assert_eq!(sample, Sample { id, filter: vec![filter], attribute, ..Sample::default() });
}

#[test]
fn numbers_may_have_blanks_and_booleans_capitals() {
    let sample = read("Count=+7&Flag=TRUE&Address=10.0.0.1").unwrap();
    assert_eq!(
        (sample.count, sample.flag, sample.address),
        (Some(7), true, Some(Ipv4Addr::new(10, 0, 0, 1)))
    );
}

#[test]
fn an_empty_value_is_one_in_lists_and_as_value_only() {
    assert_eq!(read("Text=&Count=&Id=&Filter=").unwrap(), Sample::default());
    let sample = read("Id.1=&Filter.1.Name=n&Filter.1.Value.1=&Attribute.Value=").unwrap();
    assert_eq!(sample.id, [""]);
    assert_eq!(sample.filter[0].value, [""]);
    assert_eq!(sample.attribute, Some(Attribute { value: String::new() }));
    assert_eq!(refused("Filter.1.Name=").0, "MissingParameter");
}

#[test]
fn what_nobody_asks_for_is_refused_by_its_whole_name() {
    for (text, name) in [
        ("Colour=red", "Colour"),
        ("Colour=", "Colour"),
        ("text=a", "text"),
        ("Éa=a", "Éa"),
        ("Oops.2.Deep=1", "Oops.2.Deep"),
        ("Filter.1.Name=a&Filter.1.Colour=red", "Filter.1.Colour"),
        ("Text.1=a", "Text.1"),
        ("Text=a&Text.1=a", "Text.1"),
        ("Id=a", "Id"),
        ("Id.x=a", "Id.x"),
        ("Id.x.y=a", "Id.x.y"),
        ("Id.+1=a", "Id. 1"),
        ("Id.1.y=a", "Id.1.y"),
        ("Filter.1=a", "Filter.1"),
        ("Attribute=a", "Attribute"),
        ("A..B=1", "A..B"),
        ("=1", ""),
    ] {
        let words = format!("The parameter {name} is not recognized");
        assert_eq!(refused(text), ("UnknownParameter", words), "{text}");
    }
}

#[test]
fn bad_values_and_missing_ones_are_named() {
    for (text, words) in [
        ("Count=many", "Value (many) for parameter Count is invalid: expected an integer"),
        ("Flag=yes", "Value (yes) for parameter Flag is invalid: expected true or false"),
        ("Address=10.0", "Value (10.0) for parameter Address is invalid: invalid IPv4 address syntax"),
    ] {
        assert_eq!(refused(text), ("InvalidParameterValue", words.to_owned()));
    }
    let words = "The request must contain the parameter Filter.3.Name".to_owned();
    assert_eq!(refused("Filter.3.Value.1=x"), ("MissingParameter", words));
    assert_eq!(refused("Flag=").0, "MissingParameter");
    assert_eq!(refused("Text=1&Text=2").0, "MalformedQueryString");
}
