//! What EC2 told of the instance's type.

use holdfast_migrations::v4;
use holdfast_model::limits::{Hypervisor, InstanceLimits, ToldLimits};

use super::{BadRecord, Record};

impl Record for ToldLimits {
    type Frozen = v4::Limits;

    fn freeze(&self) -> v4::Limits {
        let InstanceLimits { enis, ipv4_per_eni, ipv6_per_eni, hypervisor } = &self.limits;
        v4::Limits {
            instance_type: self.instance_type.clone(),
            enis: enis.clone(),
            ipv4_per_eni: *ipv4_per_eni,
            ipv6_per_eni: *ipv6_per_eni,
            hypervisor: hypervisor.map(|runs_on| match runs_on {
                Hypervisor::Nitro => v4::Hypervisor::Nitro,
                Hypervisor::Xen => v4::Hypervisor::Xen,
                Hypervisor::BareMetal => v4::Hypervisor::BareMetal,
            }),
        }
    }

    fn thaw(frozen: v4::Limits) -> Result<Self, BadRecord> {
        let limits = InstanceLimits {
            enis: frozen.enis,
            ipv4_per_eni: frozen.ipv4_per_eni,
            ipv6_per_eni: frozen.ipv6_per_eni,
            hypervisor: frozen.hypervisor.map(|runs_on| match runs_on {
                v4::Hypervisor::Nitro => Hypervisor::Nitro,
                v4::Hypervisor::Xen => Hypervisor::Xen,
                v4::Hypervisor::BareMetal => Hypervisor::BareMetal,
            }),
        };
        Ok(Self { instance_type: frozen.instance_type, limits })
    }
}
