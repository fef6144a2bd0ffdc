//! The definitions in `deploy/chart/holdfast/crds` are those that the types say.

use std::collections::BTreeSet;

#[path = "../examples/crds/render.rs"]
mod render;

#[test]
fn the_files_are_those_that_the_types_say() {
    let files = render::files().unwrap();
    let there: BTreeSet<String> = std::fs::read_dir(render::FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        there,
        files.iter().map(|(name, _)| name.clone()).collect(),
        "the folder holds these and no others"
    );
    for (name, text) in files {
        let kept = std::fs::read_to_string(format!("{}/{name}", render::FOLDER)).unwrap();
        assert_eq!(kept, text, "{name}: write it anew with `cargo run -p holdfast-cluster --example crds`");
    }
}
