//! Pods replaced under load while the daemons that give them addresses are killed again and again.

use std::time::Duration;

use holdfast_stage::drive::App;

use crate::rig::Stage;

#[test]
fn updates_under_killed_daemons_lose_nothing() {
    let stage = Stage::new("test-rolling");
    stage.run(&["up", "--nodes", "2", "--plugin", "chart"]);
    let cluster = stage.cluster();
    let app = App::deploy(&cluster, "web", 40).unwrap();
    app.settle().unwrap();
    let rolled = app.roll(3, Duration::from_secs(2), &mut |what| eprintln!("{what}")).unwrap();
    let (kills, pods, answers) = (rolled.kills, rolled.pods, rolled.asked.answers());
    eprintln!("{kills} kills, {pods} pods, {answers} answers in {:?}", rolled.took);
    // Else little was shown.
    assert!(kills >= 10 && pods >= 160 && answers > 500, "{rolled:?}");
    assert_eq!(rolled.asked.failed, [], "clients were served");
    assert_eq!(rolled.troubles, [""; 0], "pods started, and no probe failed");
    assert!(rolled.doubled.is_empty(), "{:?}", rolled.doubled);
}
