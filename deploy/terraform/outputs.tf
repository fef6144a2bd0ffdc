output "role_arn" {
  description = "The role's ARN."
  value       = aws_iam_role.this.arn

  # Whoever installs the chart with it finds the rights in place.
  depends_on = [aws_iam_role_policy.this]
}

output "helm_values" {
  description = "Values for the chart, as YAML: for the `values` of a helm_release, or a file."
  value = yamlencode({
    serviceAccount = {
      name        = var.service_account
      annotations = local.irsa ? { "eks.amazonaws.com/role-arn" = aws_iam_role.this.arn } : {}
    }
    env = merge(
      { CLUSTER_NAME = var.cluster_name },
      length(var.eni_configs) == 0 ? {} : {
        AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG = "true"
        ENI_CONFIG_LABEL_DEF               = "topology.kubernetes.io/zone"
      },
    )
    eniConfig = {
      create = length(var.eni_configs) > 0
      subnets = {
        for zone, config in var.eni_configs : zone => {
          id             = config.subnet_id
          securityGroups = config.security_group_ids
        }
      }
    }
  })
  depends_on = [aws_iam_role_policy.this, aws_eks_pod_identity_association.this]
}
