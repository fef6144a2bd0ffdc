//! The rules one by one; random sequences are in `tests/model_based.rs`.

mod addresses;
mod attachments;
mod calls;
mod checker;
mod creation;
mod dead_callers;
mod describe;
mod errors;
mod faults;
mod harm;
mod hits;
mod index;
mod lifecycle;
mod log;
mod names;
mod narrowing;
mod paging;
mod places;
mod refusals;
mod resets;
mod retirement;
mod rules;
mod space;
mod subnets;
mod tags;
mod tally;
mod throttle;
mod tokens;

use std::net::Ipv4Addr;

use super::request::{
    AssignPrivateIpAddresses, AttachNetworkInterface, CreateNetworkInterface, DetachNetworkInterface,
};
use super::response::NetworkInterface;
use super::*;

/// A VPC with two zones, two subnets in the first one, and one m5.large.
struct Bed {
    vpc: SimVpc,
    vpc_id: VpcId,
    subnet: SubnetId,
    /// 16 addresses, 11 usable, no usable /28.
    tiny: SubnetId,
    elsewhere: SubnetId,
    group: SecurityGroupId,
    node: InstanceId,
    caller: Caller,
}

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

impl Bed {
    fn new() -> Self {
        Self::with_type("m5.large")
    }

    fn with_type(instance_type: &str) -> Self {
        let mut vpc = SimVpc::new(BoxConfig { full_subnet: FullSubnet::Documented, ..BoxConfig::default() });
        let vpc_id = vpc
            .add_vpc(&[net("10.0.0.0/16")], Some("2600:1f14:1:1000::/56".parse().unwrap()), Tags::new())
            .unwrap();
        let mut subnet = |zone: &str, ipv4: &str, ipv6: Option<&str>| {
            vpc.add_subnet(SubnetSpec {
                vpc: vpc_id,
                availability_zone: zone.to_owned(),
                ipv4: Some(net(ipv4)),
                ipv6: ipv6.map(|text| text.parse().unwrap()),
                tags: Tags::new(),
            })
            .unwrap()
        };
        let main = subnet("us-west-2a", "10.0.0.0/24", Some("2600:1f14:1:1000::/64"));
        let tiny = subnet("us-west-2a", "10.0.1.0/28", None);
        let elsewhere = subnet("us-west-2b", "10.0.2.0/24", None);
        let group = vpc.add_security_group(&vpc_id, "nodes", Tags::new()).unwrap();
        let node = vpc
            .run_instance(InstanceSpec {
                instance_type: instance_type.to_owned(),
                subnet: main,
                security_groups: vec![group],
                private_ip: Some(ip("10.0.0.10")),
                ipv6_address_count: 0,
                tags: Tags::new(),
            })
            .unwrap();
        let caller = Caller::instance(&node);
        Self { vpc, vpc_id, subnet: main, tiny, elsewhere, group, node, caller }
    }

    /// A second node beside the first one.
    fn another_node(&mut self) -> InstanceId {
        let spec = InstanceSpec {
            instance_type: "m5.large".to_owned(),
            subnet: self.subnet,
            security_groups: vec![self.group],
            private_ip: None,
            ipv6_address_count: 0,
            tags: Tags::new(),
        };
        self.vpc.run_instance(spec).unwrap()
    }

    fn call<C: Call>(&mut self, operation: C) -> Result<C::Output, CallError> {
        let answer = self.vpc.call(&self.caller.clone(), operation);
        assert_eq!(self.vpc.check(), []);
        answer
    }

    /// The code of a call that must fail, which must have changed nothing.
    fn code<C: Call>(&mut self, operation: C) -> String {
        self.error(operation).code.to_string()
    }

    fn error<C: Call>(&mut self, operation: C) -> ApiError {
        let before = self.vpc.world.clone();
        match self.call(operation) {
            Err(CallError::Api(error)) => {
                assert_eq!(before, self.vpc.world, "a failed call changed something: {error}");
                error
            }
            Err(CallError::Dropped) => panic!("the call was dropped"),
            Ok(_) => panic!("the call succeeded"),
        }
    }

    fn create(&self) -> CreateNetworkInterface {
        CreateNetworkInterface { subnet_id: self.subnet, ..Default::default() }
    }

    fn created(&mut self) -> EniId {
        let operation = self.create();
        self.call(operation).unwrap().network_interface.network_interface_id
    }

    fn attach(&self, eni: &EniId, device_index: i64) -> AttachNetworkInterface {
        AttachNetworkInterface {
            network_interface_id: *eni,
            instance_id: self.node,
            device_index,
            network_card_index: None,
        }
    }

    fn attached(&mut self, device_index: i64) -> (EniId, AttachmentId) {
        let eni = self.created();
        let operation = self.attach(&eni, device_index);
        let attachment = self.call(operation).unwrap().attachment_id;
        (eni, attachment)
    }

    fn assign(&mut self, eni: &EniId, count: i64) -> Result<Vec<Ipv4Addr>, CallError> {
        self.call(AssignPrivateIpAddresses {
            network_interface_id: *eni,
            secondary_private_ip_address_count: Some(count),
            ..Default::default()
        })
        .map(|answer| answer.addresses)
    }

    fn detach(attachment: &AttachmentId) -> DetachNetworkInterface {
        DetachNetworkInterface { attachment_id: *attachment, force: false }
    }

    fn eni(&self, eni: &EniId) -> NetworkInterface {
        self.vpc.authoritative().network_interface(eni).unwrap()
    }

    fn free(&self, subnet: &SubnetId) -> u32 {
        self.vpc.authoritative().subnet(subnet).unwrap().available_ip_address_count
    }

    fn second(&mut self, seconds: u64) {
        self.vpc.advance_to(Micros(seconds * 1_000_000));
        assert_eq!(self.vpc.check(), []);
    }
}

#[test]
fn equal_seeds_give_equal_boxes_and_other_seeds_other_ones() {
    let run = |seed| {
        let mut bed = Bed::new();
        bed.vpc = SimVpc::new(BoxConfig { seed, ..BoxConfig::default() });
        let id = bed.vpc.add_vpc(&[net("10.0.0.0/16")], None, Tags::new()).unwrap();
        bed.subnet = bed
            .vpc
            .add_subnet(SubnetSpec {
                vpc: id,
                availability_zone: "us-west-2a".to_owned(),
                ipv4: Some(net("10.0.0.0/24")),
                ipv6: None,
                tags: Tags::new(),
            })
            .unwrap();
        let operation =
            CreateNetworkInterface { secondary_private_ip_address_count: Some(5), ..bed.create() };
        bed.call(operation).unwrap().network_interface
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).network_interface_id, run(8).network_interface_id);
    assert_ne!(run(7).private_ip_addresses, run(8).private_ip_addresses);
}
