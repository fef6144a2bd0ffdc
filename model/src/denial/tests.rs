use super::*;

const WHO: &str = "UnauthorizedOperation: You are not authorized to perform this operation. User: \
                   arn:aws:sts::123456789012:assumed-role/node/i-0123 is not authorized to perform: ";

#[test]
fn the_right_and_the_object_are_those_that_ec2_names() {
    let words = format!(
        "{WHO}ec2:CreateTags on resource: arn:aws:ec2:eu-central-1:123456789012:network-interface/* because no identity-based \
         policy allows the ec2:CreateTags action. Encoded authorization failure message: 4GIOHlTkIaWHQD0Q0m6XSnuUM"
    );
    let denial = Denial::read(Api::CreateNetworkInterface, &words, Some("subnet-1".to_owned()));
    assert_eq!(denial.action, "ec2:CreateTags");
    assert_eq!(
        denial.to_string(),
        "not allowed to call ec2:CreateTags on arn:aws:ec2:eu-central-1:123456789012:network-interface/*: add it to the node \
         role's policy"
    );
}

#[test]
fn an_explicit_denial_is_told_as_one() {
    let words = format!(
        "{WHO}ec2:AttachNetworkInterface on resource: arn:aws:ec2:eu-central-1:1:instance/i-1 with an explicit deny in a service \
         control policy"
    );
    let denial = Denial::read(Api::AttachNetworkInterface, &words, None);
    assert!(
        denial.explicit && denial.to_string().ends_with("denies it explicitly; change that one"),
        "{denial}"
    );
}

#[test]
fn words_that_say_nothing_leave_the_call_and_what_it_was_about() {
    let long = format!("{WHO}{}", "x".repeat(10_000));
    for words in [
        "You are not authorized to perform this operation.",
        "is not authorized to perform: ",
        "is not authorized to perform: ec2: on resource: eni-1",
        "is not authorized to perform: \u{1b}[31mec2:A on resource: arn:\u{7}",
        &long,
    ] {
        let denial = Denial::read(Api::AssignPrivateIpAddresses, words, Some("eni-1".to_owned()));
        let said = (denial.action.as_str(), denial.object.as_deref());
        assert_eq!(said, ("ec2:AssignPrivateIpAddresses", Some("eni-1")), "{words:.80}");
        let of_nothing = Denial::read(Api::DescribeSubnets, words, None);
        assert_eq!(
            of_nothing.to_string(),
            "not allowed to call ec2:DescribeSubnets: add it to the node role's policy"
        );
    }
}
