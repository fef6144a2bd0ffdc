use std::fs;
use std::path::Path;

use super::conflist::tests::wanted;
use super::*;

fn install(root: &Path) -> Install {
    for folder in ["bin", "net.d"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("program"), "plugin").unwrap();
    Install {
        plugin: Some((Some(root.join("program")), root.join("bin"))),
        configurations: Some(root.join("net.d")),
        wanted: wanted(),
        withdrawn: Arc::default(),
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        // Work on other threads is waited for by the real clock.
        std::thread::sleep(Duration::from_millis(5));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within two hundred seconds: {what}");
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_away_is_put_back_and_what_is_changed_is_left_till_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (plugin, list) = (dir.path().join("bin/aws-cni"), dir.path().join("net.d/10-aws.conflist"));
    let stopping = CancellationToken::new();
    let kept = tokio::spawn(keep(install(dir.path()), stopping.clone()));
    until("both are there", || plugin.exists() && list.exists()).await;
    let ours = fs::read_to_string(&list).unwrap();
    fs::write(&list, "somebody added a plugin of theirs").unwrap();
    fs::remove_file(&plugin).unwrap();
    until("the plugin is back", || fs::read(&plugin).is_ok_and(|bytes| bytes == b"plugin")).await;
    assert_eq!(fs::read_to_string(&list).unwrap(), "somebody added a plugin of theirs");
    stopping.cancel();
    kept.await.unwrap();
    assert!(list.exists() && plugin.exists(), "they stay");
    let kept = tokio::spawn(keep(install(dir.path()), CancellationToken::new()));
    until("ours again", || fs::read_to_string(&list).is_ok_and(|text| text == ours)).await;
    kept.abort();
}

/// An image may carry the reference plugins along. A node that has its own keeps them.
#[tokio::test(start_paused = true)]
async fn reference_plugins_are_brought_to_nodes_that_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let install = install(dir.path());
    fs::write(dir.path().join("portmap"), "ours").unwrap();
    fs::write(dir.path().join("tuning"), "ours").unwrap();
    fs::write(dir.path().join("unknown"), "ours").unwrap();
    fs::write(dir.path().join("bin/tuning"), "the node's").unwrap();
    // Leads to where the node has it, which from inside a container is nowhere.
    std::os::unix::fs::symlink("/nowhere/bandwidth", dir.path().join("bin/bandwidth")).unwrap();
    let install = Install { wanted: Wanted { bandwidth: true, ..install.wanted }, ..install };
    let list = dir.path().join("net.d/10-aws.conflist");
    let kept = tokio::spawn(keep(install, CancellationToken::new()));
    until("the configuration is there", || list.exists()).await;
    kept.abort();
    assert_eq!(fs::read(dir.path().join("bin/portmap")).unwrap(), b"ours");
    assert_eq!(fs::read(dir.path().join("bin/tuning")).unwrap(), b"the node's");
    assert!(!dir.path().join("bin/unknown").exists());
    let named = fs::read_to_string(&list).unwrap();
    assert!(named.contains("portmap") && named.contains("bandwidth"), "{named}");
}

/// The folder of a node may be read-only, full or not there yet.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_put_in_place_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let install = install(dir.path());
    fs::remove_dir(dir.path().join("net.d")).unwrap();
    let kept = tokio::spawn(keep(install, CancellationToken::new()));
    until("the plugin is there", || dir.path().join("bin/aws-cni").exists()).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    fs::create_dir(dir.path().join("net.d")).unwrap();
    until("the configuration is there", || dir.path().join("net.d/10-aws.conflist").exists()).await;
    kept.abort();
}

/// A runtime takes the first by its name.
#[test]
fn a_configuration_of_others_that_comes_first_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let install = install(dir.path());
    let folder = dir.path().join("net.d");
    assert_eq!(install.outranked(), None);
    install.all(false).unwrap();
    for beside in ["20-other.conflist", "05-other.conflist.bak", ".05-other.conf.new", "00-README"] {
        fs::write(folder.join(beside), "").unwrap();
    }
    assert_eq!(install.outranked(), None);
    for first in ["10-aws.conf", "05-other.json", "00-multus.conf"] {
        fs::write(folder.join(first), "").unwrap();
        assert_eq!(install.outranked().as_deref(), Some(first));
    }
}

/// Of a DaemonSet that is gone nobody would answer the plugin.
#[tokio::test]
async fn a_configuration_that_names_the_plugin_is_withdrawn_and_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    let install = install(dir.path());
    let (plugin, list) = (dir.path().join("bin/aws-cni"), dir.path().join("net.d/10-aws.conflist"));
    install.all(false).unwrap();
    let ours = fs::read_to_string(&list).unwrap();
    // Others add theirs.
    fs::write(&list, ours.replacen("\"type\": \"aws-cni\"", "\"type\": \"aws-cni\", \"more\": 1", 1))
        .unwrap();
    withdraw(&install).await;
    assert!(!list.exists() && plugin.exists());
    // What was called off, and hung on a disk until now.
    install.clone().all(false).unwrap();
    assert!(!list.exists(), "it is back");
    withdraw(&install).await;
    for others in [r#"{"name":"aws-cni","plugins":[{"type":"ptp"}]}"#, "no JSON"] {
        fs::write(&list, others).unwrap();
        withdraw(&install).await;
        assert_eq!(fs::read_to_string(&list).unwrap(), others);
    }
}
