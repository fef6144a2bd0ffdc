use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_selector_asks_for_labels_as_kubectl_does() {
    let node = labels(&[("size", "big"), ("example.com/zone", "a"), ("spot", "")]);
    for (selector, holds) in [
        ("size=big", true),
        ("size==big", true),
        ("size = big", true),
        ("size=small", false),
        ("size!=small", true),
        ("size!=big", false),
        ("absent!=x", true),
        ("spot", true),
        ("spot=", true),
        ("!spot", false),
        ("!absent", true),
        ("absent", false),
        ("size=big,example.com/zone=a,spot", true),
        ("size=big,example.com/zone=b", false),
    ] {
        assert_eq!(selected(selector, &node), Ok(holds), "{selector}");
    }
    for wrong in ["", "size=big,", "size in (big)", "=big", "!", "a b"] {
        assert!(selected(wrong, &node).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_node_hears_the_groups_that_it_is_of_and_the_last_ones_word_counts() {
    let node = labels(&[("size", "big")]);
    let data = labels(&[
        ("a", "# all of them\nselector=!windows\n\nWARM_IP_TARGET = 2\nMAX_ENI=3"),
        ("b", "selector=size=big\nWARM_IP_TARGET=9"),
        ("c", "selector=size=small\nWARM_IP_TARGET=1\nNONSENSE=1"),
    ]);
    let mut wrong = Wrong::default();
    let layers = layers(&data, &node, &mut wrong);
    let names: Vec<String> = layers.iter().map(|layer| layer.place.to_string()).collect();
    assert_eq!(names, ["node group a", "node group b"]);
    assert_eq!(layers[0].values["WARM_IP_TARGET"].text, "2");
    assert_eq!(layers[1].values["WARM_IP_TARGET"].text, "9");
    assert_eq!(wrong.told(), [], "c is others' to be told of");
}

/// Of a group whose selector cannot be read nobody is sure: nobody is of it, and all are told.
#[test]
fn what_is_wrong_with_a_group_is_told_to_its_nodes() {
    let node = labels(&[("size", "big")]);
    for (text, words, layers_of) in [
        ("WARM_IP_TARGET=1", "want a line like selector=", 0),
        ("selector=size in (big)\nWARM_IP_TARGET=1", "is no term of a selector", 0),
        ("selector=size=big\nWARM_IP=1\nMAX_ENI=2", "WARM_IP=\"1\" in node group g: no setting", 1),
        ("selector=size=big\nHOLDFAST_SOCKET=/x", "a setting of the environment only", 1),
    ] {
        let mut wrong = Wrong::default();
        let found = layers(&labels(&[("g", text)]), &node, &mut wrong);
        assert_eq!(found.len(), layers_of, "{text}");
        let wrong: Vec<String> = wrong.told().iter().map(ToString::to_string).collect();
        assert!(wrong.len() == 1 && wrong[0].contains(words), "{text}: {wrong:?}");
    }
}
