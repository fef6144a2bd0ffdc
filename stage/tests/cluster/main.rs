//! Whole clusters: brought up, used as people use them, killed, and looked for afterwards. Run by `./dev stage test`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod audit;
mod chart;
mod daemon;
mod door;
mod faults;
mod full;
mod lost_del;
mod pods;
mod published;
mod rig;
mod rolling;
mod size;
mod upgrade;
mod workload;

use rig::Stage;
use workload::Workload;

#[test]
fn a_cluster_with_the_reference_plugin_is_what_the_stage_can_do() {
    serves_and_leaves_nothing("test-ptp", "ptp");
}

#[test]
fn a_cluster_with_holdfast_serves() {
    serves_and_leaves_nothing("test-holdfast", "holdfast");
}

fn serves_and_leaves_nothing(name: &str, plugin: &str) {
    let stage = Stage::new(name);
    stage.run(&["up", "--nodes", "2", "--plugin", plugin]);
    assert_eq!(stage.nodes_ready(), ["node-a", "node-b"]);
    let workload = Workload::deploy(&stage, 5);
    workload.pods_reach_each_other_over_nodes();
    workload.pods_reach_the_service();
    workload.pods_reach_the_api_server_by_its_service();
    workload.pods_find_names();
    let traces = stage.traces();
    assert!(traces.processes.len() > 20 && traces.namespaces.len() > 20, "the look is not blind: {traces:?}");
    assert!(!traces.cgroups.is_empty(), "{traces:?}");
    stage.run(&["down"]);
    stage.assert_gone(&traces);
}

#[test]
fn a_stage_whose_maker_is_killed_half_way_ends_by_itself() {
    let stage = Stage::new("test-half");
    let mut maker = stage.start(&["up", "--plugin", "ptp"]);
    let traces = stage.wait_for_traces("the nodes", |traces| traces.processes.len() > 8);
    // A kill in the middle of its work, and nobody tells the keeper.
    maker.kill().unwrap();
    maker.wait().unwrap();
    stage.wait_for_status("what is left");
    assert!(stage.traces().processes.is_empty(), "{:?}", stage.traces());
    stage.run(&["down"]);
    stage.assert_gone(&traces);
}

#[test]
fn a_killed_stage_is_told_and_the_next_one_takes_its_place() {
    let stage = Stage::new("test-killed");
    stage.run(&["up", "--nodes", "1", "--plugin", "ptp"]);
    assert!(stage.refused(&["up", "--nodes", "1", "--plugin", "ptp"]).contains("is up already"));
    let traces = stage.traces();
    stage.run(&["exec", "node-a", "sh", "-c", "kill -KILL $(pidof kube-proxy)"]);
    stage.wait_for_status("node-a-kube-proxy has ended");
    stage.kill_keeper();
    stage.wait_for_status("what is left");
    assert!(stage.traces().processes.is_empty(), "{:?}", stage.traces());
    stage.run(&["up", "--nodes", "1", "--plugin", "ptp"]);
    assert_eq!(stage.nodes_ready(), ["node-a"]);
    stage.run(&["down"]);
    stage.assert_gone(&traces);
    assert!(stage.output(&["down"]).contains("is not there"));
}

#[test]
fn a_stage_whose_folder_was_deleted_is_found_by_its_cgroup() {
    let stage = Stage::new("test-deleted");
    stage.run(&["up", "--nodes", "1", "--plugin", "ptp"]);
    let traces = stage.traces();
    stage.delete_folder();
    assert!(stage.output(&["down"]).contains("is removed"));
    stage.assert_gone(&traces);
}

#[test]
fn a_part_that_fails_is_named_with_its_own_words_and_nothing_runs_on() {
    let stage = Stage::new("test-failed");
    let said = stage.refused(&["up", "--plugin", "ptp", "--vpcsim", "/bin/false"]);
    assert!(said.contains("vpcsim ended with exit status: 1"), "{said}");
    assert!(stage.traces().processes.is_empty(), "{:?}", stage.traces());
    stage.run(&["down"]);
    stage.assert_gone(&stage.traces());
}
