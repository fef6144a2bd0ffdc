//! The documentation tells every figure as the table has it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use holdfast_metrics_helper::table::{How, NODES, NODES_READ, TABLE};

#[test]
fn each_figure_is_documented_as_it_is_made() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")).unwrap();
    let (_, part) = text.split_once("\n## The cluster in CloudWatch\n").unwrap();
    let names =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    // Figure, how it is made, metric: of one line several, in the same order.
    let mut told = BTreeMap::new();
    for line in part.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", figures, how, metrics, ""] = cells[..] else { continue };
        let how = how.split(',').next().unwrap();
        if !["sum", "growth", "largest mean", "count"].contains(&how) {
            continue;
        }
        let mut metrics = names(metrics).into_iter();
        for figure in names(figures) {
            told.insert(figure, (how.to_owned(), metrics.next()));
        }
    }
    let mut wanted: BTreeMap<String, (String, Option<String>)> = BTreeMap::new();
    for row in TABLE {
        let how = match row.how {
            How::Sum => "sum",
            How::Increase => "growth",
            How::LargestMean => "largest mean",
        };
        // What the Amazon VPC CNI's daemons alone tell is not named by its metric.
        let metric = (!["awsUtilErr", "podENIErr"].contains(&row.published)).then(|| row.metric.to_owned());
        wanted.insert(row.published.to_owned(), (how.to_owned(), metric));
    }
    for name in [NODES, NODES_READ] {
        wanted.insert(name.to_owned(), ("count".to_owned(), None));
    }
    assert_eq!(told, wanted);
}
