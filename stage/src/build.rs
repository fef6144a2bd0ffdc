//! The cluster's programs, built from Go modules into `target/stage/VERSION`, once for each version.
//!
//! ```text
//!   stage/go/PRODUCT/go.mod ── recipe ── stale? ── go build ── bin/.building-NAME ── rename ── bin/NAME ── bin/.built/NAME
//! ```
//!
//! A program counts as built when its mark says that it was made from what there is now; the mark is written last. So a
//! half-written program never counts, and what was built is not looked at again.

mod go;
mod images;
mod make;
mod recipe;
mod stale;
mod suite_image;

pub use images::{AGNHOST, Archive, BUSYBOX, COREDNS, PAUSE};
pub use make::{build, build_suite, missing};
pub use recipe::{Part, Recipe, recipes, suite};
pub use suite_image::{SUITE_IMAGE, WEB_IMAGE};
