//! Pages of what a filter leaves.

use super::*;
use crate::vpc::request::*;

#[test]
fn pages_of_what_an_indexed_filter_leaves_cover_it_once() {
    let mut bed = Bed::new();
    let elsewhere = CreateNetworkInterface { subnet_id: bed.elsewhere, ..Default::default() };
    let mut expected: Vec<EniId> = Vec::new();
    for _ in 0..11 {
        bed.created();
        expected.push(bed.call(elsewhere.clone()).unwrap().network_interface.network_interface_id);
    }
    expected.sort();
    let mut operation = DescribeNetworkInterfaces {
        filters: vec![Filter::new("subnet-id", bed.elsewhere.as_str())],
        max_results: Some(5),
        ..Default::default()
    };
    let mut found = Vec::new();
    for size in [5, 5, 1] {
        let page = bed.call(operation.clone()).unwrap();
        assert_eq!(page.items.len(), size);
        found.extend(page.items.into_iter().map(|eni| eni.network_interface_id));
        operation.next_token = page.next_token;
    }
    assert_eq!((found, operation.next_token), (expected, None));
}

#[test]
fn every_kind_is_paged_and_a_last_page_that_is_full_is_the_last() {
    let mut bed = Bed::new();
    let all: Vec<String> = limits::instance_types().into_iter().map(|kind| kind.name).collect();
    // At least two, and none smaller than EC2 makes them.
    let size = (5..all.len())
        .find(|size| all.len().is_multiple_of(*size))
        .expect("a size at which the last page is full");
    let mut operation = DescribeInstanceTypes { max_results: i64::try_from(size).ok(), ..Default::default() };
    let mut found = Vec::new();
    for _ in 0..all.len() / size {
        let page = bed.call(operation.clone()).unwrap();
        found.extend(page.items.into_iter().map(|kind| kind.name));
        operation.next_token = page.next_token;
    }
    assert_eq!((found, operation.next_token), (all, None));
}
