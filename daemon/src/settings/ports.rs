//! The ports at which a node tells of itself.

use holdfast_metrics::Place;

use super::reader::{Bad, Reader};
use super::values::boolean;

/// Variables about them. A process opens its ports once.
pub(super) const VARIABLES: &[&str] =
    &["DISABLE_INTROSPECTION", "DISABLE_METRICS", "INTROSPECTION_BIND_ADDRESS"];

/// Where the Amazon VPC CNI's metrics are, and so where scrapers look for ours.
const METRICS: u16 = 61678;

/// Where its introspection is.
const INTROSPECTION: &str = "127.0.0.1:61679";

/// Where what is served; what is switched off is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) metrics: Option<Place>,
    pub(crate) introspection: Option<Place>,
}

pub(super) fn ports<F: Fn(&str) -> Option<String>>(reader: &mut Reader<'_, F>) -> Ports {
    let mut off = |name| reader.get(name, Bad::Ignored, false, boolean).value;
    let (no_metrics, no_introspection) = (off("DISABLE_METRICS"), off("DISABLE_INTROSPECTION"));
    let place =
        |text: &str| Place::parse(text).map(|_place| text.to_owned()).map_err(|error| error.to_string());
    let at = reader.get("INTROSPECTION_BIND_ADDRESS", Bad::Ignored, INTROSPECTION.to_owned(), place).value;
    Ports {
        metrics: (!no_metrics).then(|| Place::everywhere(METRICS)),
        introspection: Place::parse(&at).ok().filter(|_| !no_introspection),
    }
}
