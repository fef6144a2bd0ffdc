//! `CreateTags` and `DeleteTags`, over every kind of resource.

use super::{Change, invalid, missing};
use crate::vpc::error::{ApiError, ErrorCode};
use crate::vpc::ids::{EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use crate::vpc::request::{CreateTags, DeleteTags, Tags};

/// EC2's limit on tags per resource, on the length of a key and of a value.
const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 127;
const MAX_VALUE: usize = 256;

/// Keys and values within EC2's rules, and not too many.
pub(in crate::vpc) fn check_tags(tags: &Tags) -> Result<(), ApiError> {
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > MAX_KEY {
            return Err(invalid(format!("Tag key ({key}) must be 1 to {MAX_KEY} characters long")));
        }
        if value.chars().count() > MAX_VALUE {
            return Err(invalid(format!("Tag value exceeds the maximum length of {MAX_VALUE} characters")));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys starting with 'aws:' are reserved for internal use"));
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(ApiError::new(
            ErrorCode::TagLimitExceeded,
            format!("More than {MAX_TAGS} tags specified for a resource"),
        ));
    }
    Ok(())
}

impl Change<'_> {
    pub(super) fn create_tags(&mut self, op: &CreateTags) -> Result<(), ApiError> {
        if op.tags.is_empty() {
            return Err(missing("tagSet"));
        }
        check_tags(&op.tags)?;
        self.each_resource(&op.resources, |tags| {
            tags.extend(op.tags.clone());
            check_tags(tags)
        })
    }

    pub(super) fn delete_tags(&mut self, op: &DeleteTags) -> Result<(), ApiError> {
        self.each_resource(&op.resources, |tags| {
            if op.tags.is_empty() {
                tags.clear();
            }
            for (key, value) in &op.tags {
                if value.as_ref().is_none_or(|value| tags.get(key) == Some(value)) {
                    tags.remove(key);
                }
            }
            Ok(())
        })
    }

    fn each_resource(
        &mut self,
        resources: &[String],
        change: impl Fn(&mut Tags) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        if resources.is_empty() {
            return Err(missing("resourceIdSet"));
        }
        for id in resources {
            change(self.tags_of(id)?)?;
        }
        Ok(())
    }

    fn tags_of(&mut self, id: &str) -> Result<&mut Tags, ApiError> {
        let kind = id.split_once('-').map(|(kind, _)| kind);
        Ok(match kind {
            Some("eni") => &mut self.world.eni_mut(&EniId::from(id))?.tags,
            Some("i") => &mut self.world.instance_mut(&InstanceId::from(id))?.tags,
            Some("subnet") => &mut self.world.subnet_mut(&SubnetId::from(id))?.tags,
            Some("sg") => &mut self.world.group_mut(&SecurityGroupId::from(id))?.tags,
            Some("vpc") => &mut self.world.vpc_mut(&VpcId::from(id))?.tags,
            _ => return Err(ApiError::new(ErrorCode::InvalidId, format!("The ID '{id}' is not valid"))),
        })
    }
}
