//! What only a read of EC2 shows.

use holdfast_model::cloud::TAG_NO_MANAGE;
use holdfast_model::config::Setting;
use holdfast_model::eni::Management;

use super::*;

/// Tags are in reads of EC2 only.
#[tokio::test(start_paused = true)]
async fn a_tag_that_others_set_is_noticed_within_the_interval_and_so_is_the_next_one() {
    let two_minutes = Setting::from_environment(Duration::from_secs(120));
    let config = Config { ec2_read_interval: two_minutes, ..Config::default() };
    for (config, notices) in [(config, true), (Config::default(), false)] {
        let desk = Desk::start(config);
        let eni = desk.attached_by_others();
        pass(300).await;
        let management = || desk.disk.ledger().enis[&eni].management;
        assert_eq!(management(), Management::Managed);
        let before = desk.reads();
        // At whatever moment it comes.
        for at in 0..10 {
            pass(120 + at * 13).await;
            desk.tagged_by_others(TAG_NO_MANAGE, "true");
            pass(120).await;
            assert_eq!(management() == Management::Unmanaged, notices, "{at}");
            desk.tagged_by_others(TAG_NO_MANAGE, "false");
            pass(120).await;
            assert_eq!(management(), Management::Managed, "{at}");
        }
        // 4185 seconds, and what is read is ENIs, and the zone's subnets.
        let reads = desk.reads() - before;
        assert!(if notices { (68..=84).contains(&reads) } else { reads == 0 }, "{reads}");
        assert_eq!(desk.dump().await.unwrap().violations, []);
    }
}
