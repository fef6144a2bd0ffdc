//! An instance type with its network limits.

use crate::ec2::xml::Xml;
use crate::vpc::response::InstanceTypeInfo;

/// The elements of one type. What the box has no data for (prices, storage, accelerators) is left out.
pub(super) fn instance_type(x: &mut Xml, it: &InstanceTypeInfo) {
    x.text("instanceType", &it.name);
    x.text("currentGeneration", it.hypervisor != "xen");
    x.texts("supportedVirtualizationTypes", ["hvm"]);
    x.text("bareMetal", it.bare_metal);
    x.optional("hypervisor", Some(&it.hypervisor).filter(|hypervisor| !hypervisor.is_empty()));
    x.element("processorInfo", |x| x.texts("supportedArchitectures", [&it.architecture]));
    x.element("vCpuInfo", |x| x.text("defaultVCpus", it.vcpus));
    x.element("memoryInfo", |x| x.text("sizeInMiB", it.memory_mib));
    x.element("networkInfo", |x| {
        x.text("maximumNetworkInterfaces", it.max_enis);
        x.text("maximumNetworkCards", it.network_cards.len());
        x.text("defaultNetworkCardIndex", 0);
        x.items("networkCards", it.network_cards.iter().enumerate(), |x, (index, enis)| {
            x.text("networkCardIndex", index);
            x.text("maximumNetworkInterfaces", enis);
        });
        x.text("ipv4AddressesPerInterface", it.ipv4_per_eni);
        x.text("ipv6AddressesPerInterface", it.ipv6_per_eni);
        x.text("ipv6Supported", it.ipv6_per_eni > 0);
        x.text("enaSupport", if it.hypervisor == "xen" { "supported" } else { "required" });
        x.text("efaSupported", it.efa_supported);
    });
}
