//! Reading one setting after the other, and keeping what is wrong with each.

use std::ops::RangeInclusive;
use std::time::Duration;

use holdfast_model::config::Setting;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::layers::{Given, Layers, Place};
use super::values::seconds;

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}{}: {wanted}", at(.place))]
pub(crate) struct Problem {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) value: String,
    pub(super) wanted: String,
}

impl Problem {
    pub(super) fn new(place: &Place, name: &str, value: &str, wanted: String) -> Self {
        /// As much as tells which it is.
        const SHOWN: usize = 256;
        let shown = |text: &str| text.chars().take(SHOWN).collect();
        Self { place: place.clone(), name: shown(name), value: shown(value), wanted }
    }

    pub(super) fn of(given: &Given, wanted: String) -> Self {
        Self::new(&given.place, &given.key, &given.text, wanted)
    }
}

/// So many mistakes of one place are told one by one. People read no more, and who makes a thousand has made one.
const TOLD: usize = 16;

/// What is wrong in one place: the first mistakes, and how many more there are.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    first: Vec<Problem>,
    more: Option<(Problem, usize)>,
}

impl Wrong {
    pub(super) fn push(&mut self, problem: Problem) {
        if self.first.len() < TOLD {
            self.first.push(problem);
        } else {
            let (_, count) = self.more.get_or_insert((problem, 0));
            *count += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    pub(super) fn told(self) -> Vec<Problem> {
        let more = self.more.map(|(problem, count)| match count {
            1 => problem,
            _ => Problem { wanted: format!("this and {} more cannot be used either", count - 1), ..problem },
        });
        self.first.into_iter().chain(more).collect()
    }
}

impl Extend<Problem> for Wrong {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}

fn at(place: &Place) -> String {
    match place {
        Place::Environment => String::new(),
        Place::Cluster(place) => format!(" in {place}"),
    }
}

/// What becomes of a value in the environment that cannot be read. In the cluster it never keeps a daemon from starting: one slip
/// there would stop all.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bad {
    Ignored,
    Refused,
}

pub(super) struct Reader<'a, F> {
    pub(super) layers: &'a Layers<'a, F>,
    pub(super) by_name: Map<String, Value>,
    pub(super) ignored: Vec<Problem>,
    pub(super) left_out: Vec<Problem>,
    pub(super) refused: Vec<Problem>,
}

impl<'a, F: Fn(&str) -> Option<String>> Reader<'a, F> {
    pub(super) fn new(layers: &'a Layers<'a, F>) -> Self {
        Self { layers, by_name: Map::new(), ignored: Vec::new(), left_out: Vec::new(), refused: Vec::new() }
    }

    pub(super) fn get<T: Serialize>(
        &mut self,
        name: &'static str,
        bad: Bad,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Setting<T> {
        self.get_in_part(name, bad, default, |text| parse(text).map(|value| (value, Vec::new())))
    }

    /// A setting of which parts may be left out; `parse` says what is wrong with each. What cannot be read leaves the word to
    /// the layer below.
    pub(super) fn get_in_part<T: Serialize>(
        &mut self,
        name: &'static str,
        bad: Bad,
        default: T,
        parse: impl Fn(&str) -> Result<(T, Vec<String>), String>,
    ) -> Setting<T> {
        let alone = self.layers.environment(name).and_then(|text| parse(&text).ok()).map(|(value, _)| value);
        let upstreams = json!(alone.as_ref().unwrap_or(&default));
        let mut found = None;
        for given in self.layers.of(name) {
            match parse(&given.text) {
                Ok((value, left_out)) => {
                    let mut wrong = Wrong::default();
                    wrong.extend(left_out.into_iter().map(|wanted| Problem::of(&given, wanted)));
                    self.left_out.extend(wrong.told());
                    found = Some((value, given));
                    break;
                }
                Err(wanted) => {
                    let problem = Problem::of(&given, wanted);
                    match (bad, given.place) {
                        (Bad::Refused, Place::Environment) => self.refused.push(problem),
                        _ => self.ignored.push(problem),
                    }
                }
            }
        }
        let (setting, given) = match found {
            Some((value, given)) => (Setting { value, origin: given.place.origin() }, Some(given)),
            None => (Setting::default_of(default), None),
        };
        let mut told = json!(setting);
        if let Some(Given { place: Place::Cluster(place), key, .. }) = given {
            told["given"] = format!("{key} in {place}").into();
            if !name.starts_with("HOLDFAST_") && told["value"] != upstreams {
                told["amazon_vpc_cni_would_use"] = upstreams;
            }
        }
        self.by_name.insert(name.to_owned(), told);
        setting
    }

    pub(super) fn seconds(&mut self, name: &'static str, default: Duration) -> Setting<Duration> {
        self.seconds_within(name, default, &(0..=u64::MAX))
    }

    pub(super) fn seconds_within(
        &mut self,
        name: &'static str,
        default: Duration,
        bounds: &RangeInclusive<u64>,
    ) -> Setting<Duration> {
        let within = |text: &str| {
            let wanted = || format!("want {} to {} seconds", bounds.start(), bounds.end());
            seconds(text).and_then(|value| if bounds.contains(&value) { Ok(value) } else { Err(wanted()) })
        };
        let Setting { value, origin } = self.get(name, Bad::Refused, default.as_secs(), within);
        Setting { value: Duration::from_secs(value), origin }
    }
}
