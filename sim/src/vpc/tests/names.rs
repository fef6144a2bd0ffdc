//! Host names, as the VPC's DNS and metadata give them.

use super::*;

/// The host name of a new instance, as DescribeInstances shows it, after metadata was found to agree.
fn host_name(region: &str, ipv4: Option<&str>) -> (InstanceId, String) {
    let mut vpc = SimVpc::new(BoxConfig { region: region.to_owned(), ..BoxConfig::default() });
    let ipv6 = "2600:1f14:1:1000::/56".parse().unwrap();
    let id = vpc.add_vpc(&[net("10.0.0.0/16")], Some(ipv6), Tags::new()).unwrap();
    let subnet = vpc
        .add_subnet(SubnetSpec {
            vpc: id,
            availability_zone: format!("{region}a"),
            ipv4: ipv4.map(|_| net("10.0.0.0/24")),
            ipv6: Some("2600:1f14:1:1000::/64".parse().unwrap()),
            tags: Tags::new(),
        })
        .unwrap();
    let instance = vpc
        .run_instance(InstanceSpec {
            instance_type: "m5.large".to_owned(),
            subnet,
            security_groups: Vec::new(),
            private_ip: ipv4.map(ip),
            ipv6_address_count: 1,
            tags: Tags::new(),
        })
        .unwrap();
    let name = vpc.authoritative().instances()[0].instance.private_dns_name.clone();
    let view = vpc.imds_view(&instance).unwrap();
    assert_eq!((&view.local_hostname, &view.interfaces[0].local_hostname), (&name, &name));
    (instance, name)
}

#[test]
fn the_name_is_of_the_address_and_of_the_id_where_there_is_no_ipv4() {
    let (_, name) = host_name("us-west-2", Some("10.0.0.10"));
    assert_eq!(name, "ip-10-0-0-10.us-west-2.compute.internal");
    let (instance, name) = host_name("us-west-2", None);
    assert_eq!(name, format!("{instance}.us-west-2.compute.internal"));
}

#[test]
fn the_oldest_region_has_a_domain_of_its_own() {
    assert_eq!(host_name("us-east-1", Some("10.0.0.10")).1, "ip-10-0-0-10.ec2.internal");
}

#[test]
fn an_ended_instance_has_no_name() {
    let mut bed = Bed::new();
    let node = bed.node;
    bed.vpc.terminate_instance(&node).unwrap();
    assert_eq!(bed.vpc.authoritative().instances()[0].instance.private_dns_name, "");
}
