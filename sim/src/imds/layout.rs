//! Where each fact of a view stands in the metadata tree.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::tree::Directory;
use crate::server::credentials::RoleCredentials;
use crate::server::timestamp;
use crate::vpc::{ImdsInterface, ImdsView, RetirementNotice};

/// Name of the role whose credentials every instance of the box has.
pub(crate) const ROLE: &str = "holdfast-box-node";

/// Versions under which the tree is served, beside `latest`: the first, and those that cloud-init and the SDKs name.
pub(crate) const VERSIONS: &[&str] = &["2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "2021-07-15"];

/// Everything that IMDS serves. `now_us` is the virtual clock, `epoch` the wall-clock instant of its zero.
pub(crate) fn root(view: &ImdsView, epoch: SystemTime, now_us: u64, expired_credentials: bool) -> Directory {
    let mut root = Directory::default();
    // Only named here: the face maps them to `latest` before it looks.
    for version in VERSIONS {
        root.directory(version);
    }
    let latest = root.directory("latest");
    latest.put("dynamic/instance-identity/document", identity_document(view, epoch));
    let meta = latest.directory("meta-data");
    instance(meta, view);
    meta.put("events/maintenance/history", history(view, epoch));
    meta.put("events/maintenance/scheduled", scheduled(view, epoch));
    let now = Duration::from_micros(now_us);
    let role = if expired_credentials {
        RoleCredentials::expired(view.instance_id, now)
    } else {
        RoleCredentials::at(view.instance_id, now)
    };
    credentials(meta, view, epoch, &role);
    for interface in &view.interfaces {
        let at = meta.directory(&format!("network/interfaces/macs/{}", interface.mac));
        self::interface(at, interface);
        interface.missing.iter().for_each(|leaf| at.remove(leaf));
    }
    root
}

fn instance(meta: &mut Directory, view: &ImdsView) {
    meta.put("ami-id", &view.image_id);
    meta.put("ami-launch-index", "0");
    meta.put("ami-manifest-path", "(unknown)");
    meta.put("block-device-mapping/ami", "/dev/xvda");
    meta.put("block-device-mapping/root", "/dev/xvda");
    meta.put("hostname", &view.local_hostname);
    meta.put("instance-action", "none");
    meta.put("instance-id", view.instance_id.as_str());
    meta.put("instance-life-cycle", "on-demand");
    meta.put("instance-type", &view.instance_type);
    meta.put("local-hostname", &view.local_hostname);
    meta.put_lines("local-ipv4", view.local_ipv4);
    meta.put_lines("ipv6", view.ipv6);
    meta.put("mac", view.mac.to_string());
    meta.put("placement/availability-zone", &view.availability_zone);
    meta.put("placement/availability-zone-id", &view.availability_zone_id);
    meta.put("placement/region", &view.region);
    meta.put("profile", "default-hvm");
    meta.put("reservation-id", view.reservation_id.as_str());
    meta.put_lines("security-groups", &view.security_groups);
    meta.put("services/domain", "amazonaws.com");
    meta.put("services/partition", "aws");
    for (key, value) in &view.tags {
        // IMDS cannot show a key that would be a path; EC2 refuses such keys when it is to show tags there.
        if !key.contains('/') && key != "." && key != ".." {
            meta.put(&format!("tags/instance/{key}"), value);
        }
    }
}

/// What EC2 will do to the instance. An end is told of events that have one.
fn scheduled(view: &ImdsView, epoch: SystemTime) -> String {
    let events = view.retirement.iter();
    let events = events.map(|notice| event(notice, RetirementNotice::DESCRIPTION, "active", epoch));
    format!("{:#}", events.collect::<Value>())
}

/// What it did, or was to do.
fn history(view: &ImdsView, epoch: SystemTime) -> String {
    let events = view.past_retirements.iter();
    let events = events.map(|past| event(&past.notice, &past.end.description(), past.end.as_str(), epoch));
    format!("{:#}", events.collect::<Value>())
}

fn event(notice: &RetirementNotice, description: &str, state: &str, epoch: SystemTime) -> Value {
    json!({
        "NotBefore": timestamp::day_first(epoch + Duration::from_micros(notice.not_before.0)),
        "Code": RetirementNotice::CODE,
        "Description": description,
        "EventId": notice.event_id,
        "State": state,
    })
}

fn interface(at: &mut Directory, it: &ImdsInterface) {
    at.put("device-number", it.device_number.to_string());
    at.put("interface-id", it.interface_id.as_str());
    at.put_lines("ipv4-prefix", &it.ipv4_prefixes);
    at.put_lines("ipv6-prefix", &it.ipv6_prefixes);
    at.put_lines("ipv6s", &it.ipv6s);
    at.put("local-hostname", &it.local_hostname);
    at.put_lines("local-ipv4s", &it.local_ipv4s);
    at.put("mac", it.mac.to_string());
    at.put_lines("network-card", it.network_card);
    at.put("owner-id", &it.owner_id);
    at.put_lines("security-group-ids", &it.security_group_ids);
    at.put_lines("security-groups", &it.security_groups);
    at.put("subnet-id", it.subnet_id.as_str());
    at.put_lines("subnet-ipv4-cidr-block", it.subnet_ipv4_cidr_block);
    at.put_lines("subnet-ipv6-cidr-blocks", &it.subnet_ipv6_cidr_blocks);
    at.put("vpc-id", it.vpc_id.as_str());
    at.put("vpc-ipv4-cidr-block", it.vpc_ipv4_cidr_block.to_string());
    at.put_lines("vpc-ipv4-cidr-blocks", &it.vpc_ipv4_cidr_blocks);
    at.put_lines("vpc-ipv6-cidr-blocks", &it.vpc_ipv6_cidr_blocks);
}

fn identity_document(view: &ImdsView, epoch: SystemTime) -> String {
    let document = json!({
        "accountId": view.account_id,
        "architecture": view.architecture,
        "availabilityZone": view.availability_zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": view.image_id,
        "instanceId": view.instance_id,
        "instanceType": view.instance_type,
        "kernelId": null,
        "pendingTime": timestamp::seconds(epoch + Duration::from_micros(view.launch_time.0)),
        "privateIp": view.local_ipv4,
        "ramdiskId": null,
        "region": view.region,
        "version": "2017-09-30",
    });
    format!("{document:#}")
}

/// Role credentials. They turn once an hour; the access key id stays, for it names the instance.
fn credentials(meta: &mut Directory, view: &ImdsView, epoch: SystemTime, role: &RoleCredentials) {
    let issued = epoch + role.issued;
    let document = json!({
        "Code": "Success",
        "LastUpdated": timestamp::seconds(issued),
        "Type": "AWS-HMAC",
        "AccessKeyId": role.access_key_id,
        "SecretAccessKey": role.secret_access_key,
        "Token": role.session_token,
        "Expiration": timestamp::seconds(epoch + role.expires),
    });
    meta.put(&format!("iam/security-credentials/{ROLE}"), format!("{document:#}"));
    let info = json!({
        "Code": "Success",
        "LastUpdated": timestamp::seconds(issued),
        "InstanceProfileArn": format!("arn:aws:iam::{}:instance-profile/{ROLE}", view.account_id),
        "InstanceProfileId": "AIPAHOLDFASTBOXNODE01",
    });
    meta.put("iam/info", format!("{info:#}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpc::{BoxConfig, InstanceSpec, SimVpc, SubnetSpec, Tags};

    /// The tree of an instance with tags of these keys.
    fn tree(keys: &[&str], now: Duration, expired_credentials: bool) -> Directory {
        let mut sim = SimVpc::new(BoxConfig::default());
        let vpc = sim.add_vpc(&["10.0.0.0/16".parse().unwrap()], None, Tags::new()).unwrap();
        let spec = SubnetSpec {
            vpc,
            availability_zone: "us-west-2a".to_owned(),
            ipv4: Some("10.0.0.0/24".parse().unwrap()),
            ipv6: None,
            tags: Tags::new(),
        };
        let subnet = sim.add_subnet(spec).unwrap();
        let spec = InstanceSpec {
            instance_type: "m5.large".to_owned(),
            subnet,
            security_groups: Vec::new(),
            private_ip: None,
            ipv6_address_count: 0,
            tags: keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect(),
        };
        let instance = sim.run_instance(spec).unwrap();
        let view = sim.imds_view(&instance).unwrap();
        let now_us = u64::try_from(now.as_micros()).unwrap();
        root(&view, SystemTime::UNIX_EPOCH, now_us, expired_credentials)
    }

    #[test]
    fn tags_whose_keys_would_be_paths_are_not_shown() {
        let tree = tree(&["Name", "kubernetes.io/role/cni", "/", ".", "..", "..."], Duration::ZERO, false);
        assert_eq!(tree.read("latest/meta-data/tags/instance").unwrap(), "...\nName");
        assert_eq!(tree.read("latest/meta-data/tags/instance/Name").unwrap(), "x");
    }

    #[test]
    fn credentials_are_shown_with_the_end_that_they_have() {
        let hour = Duration::from_hours(1);
        let life = |now, expired| {
            let tree = tree(&[], now, expired);
            let shown = tree.read(&format!("latest/meta-data/iam/security-credentials/{ROLE}")).unwrap();
            let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
            ["LastUpdated", "Expiration"].map(|moment| shown[moment].as_str().unwrap().to_owned())
        };
        let at = |time| timestamp::seconds(SystemTime::UNIX_EPOCH + time);
        assert_eq!(life(Duration::ZERO, false), [at(Duration::ZERO), at(6 * hour)]);
        assert_eq!(life(hour, false), [at(hour), at(7 * hour)], "they turn each hour");
        for now in [Duration::ZERO, hour, 9 * hour] {
            assert_eq!(life(now, true)[1], at(now), "they are over, also in a young box");
        }
    }
}
