//! Which programs are to be built: decided from what their marks say.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::recipe::Recipe;
use crate::release::Product;

/// What a product's programs are made from: the texts of its `go.mod`, of its `go.sum`, and of its own program if it has one.
pub(super) type Sources = BTreeMap<Product, Vec<String>>;

/// What a program's mark says when it was made by this recipe from these sources.
pub(super) fn mark(recipe: &Recipe, sources: &Sources) -> String {
    let mut digest = Sha256::new();
    let of_product = sources.get(&recipe.product()).cloned().unwrap_or_default();
    for text in of_product.iter().chain([&format!("{recipe:?}")]) {
        digest.update(text.len().to_le_bytes());
        digest.update(text);
    }
    format!("{:x}", digest.finalize())
}

/// The recipes that are to be carried out, in their order. `marks`: of the programs that are there.
pub(super) fn stale(recipes: &[Recipe], sources: &Sources, marks: &BTreeMap<String, String>) -> Vec<Recipe> {
    let is_stale = |recipe: &&Recipe| marks.get(recipe.name) != Some(&mark(recipe, sources));
    recipes.iter().filter(is_stale).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::recipe::recipes;
    use super::*;
    use crate::release::Release;

    fn release() -> Release {
        let version = |version: &str| version.to_owned();
        Release {
            name: None,
            kubernetes: version("1.37.1"),
            containerd: version("2.3.7"),
            etcd: version("3.6.16"),
            plugins: version("1.10.0"),
            coredns: version("1.15.0"),
        }
    }

    fn sources(sum: &str) -> Sources {
        Product::ALL
            .into_iter()
            .map(|product| (product, vec![format!("module {}", product.folder()), sum.to_owned()]))
            .collect()
    }

    fn names(recipes: &[Recipe]) -> Vec<&str> {
        recipes.iter().map(|recipe| recipe.name).collect()
    }

    #[test]
    fn what_has_no_mark_is_built_and_what_has_its_mark_is_not() {
        let (recipes, sources) = (recipes(&release()), sources("1"));
        assert_eq!(stale(&recipes, &sources, &BTreeMap::new()), recipes);
        let mut marks: BTreeMap<_, _> =
            recipes.iter().map(|recipe| (recipe.name.to_owned(), mark(recipe, &sources))).collect();
        assert_eq!(names(&stale(&recipes, &sources, &marks)), [""; 0]);
        marks.insert("ptp".to_owned(), String::new());
        marks.remove("etcd");
        assert_eq!(names(&stale(&recipes, &sources, &marks)), ["etcd", "ptp"]);
    }

    #[test]
    fn a_changed_module_file_makes_its_product_stale_and_no_other() {
        let (recipes, mut sources) = (recipes(&release()), sources("1"));
        let marks: BTreeMap<_, _> =
            recipes.iter().map(|recipe| (recipe.name.to_owned(), mark(recipe, &sources))).collect();
        sources.entry(Product::Containerd).or_default()[1] = "2".to_owned();
        assert_eq!(
            names(&stale(&recipes, &sources, &marks)),
            ["containerd", "containerd-shim-runc-v2", "ctr"]
        );
    }

    #[test]
    fn a_changed_recipe_makes_its_program_stale() {
        let sources = sources("1");
        let old = recipes(&release());
        let marks = old.iter().map(|recipe| (recipe.name.to_owned(), mark(recipe, &sources))).collect();
        let newer = recipes(&Release { containerd: "2.3.8".to_owned(), ..release() });
        assert_eq!(names(&stale(&newer, &sources, &marks)), ["containerd", "containerd-shim-runc-v2", "ctr"]);
    }
}
