variable "cluster_name" {
  description = "The EKS cluster's name: into the role's name, and onto network interfaces as tag."
  type        = string
}

variable "role_name" {
  description = "The role's name; unset, it is made of the cluster's."
  type        = string
  default     = null
}

variable "permissions_boundary" {
  description = "ARN of a permissions boundary, where the account wants one."
  type        = string
  default     = null
}

variable "oidc_provider_arn" {
  description = "ARN of the cluster's OIDC provider, for IAM roles for service accounts. Unset: EKS Pod Identity."
  type        = string
  default     = null

  validation {
    condition     = var.oidc_provider_arn == null || can(regex("^arn:[^:]+:iam::[0-9]+:oidc-provider/.+$", var.oidc_provider_arn))
    error_message = "Want arn:PARTITION:iam::ACCOUNT:oidc-provider/ISSUER."
  }
}

variable "namespace" {
  description = "Where the chart is installed."
  type        = string
  default     = "kube-system"
}

variable "service_account" {
  description = "The DaemonSet's service account."
  type        = string
  default     = "aws-node"
}

variable "eni_configs" {
  description = <<-TXT
    Custom networking: for each availability zone the subnet of the pods' network interfaces, and their security groups (none: the
    node's). Empty: pods are in the nodes' subnets. The daemon of this version refuses to start with custom networking.
  TXT
  type = map(object({
    subnet_id          = string
    security_group_ids = optional(list(string), [])
  }))
  default = {}
}

variable "tags" {
  description = "Tags of the role."
  type        = map(string)
  default     = {}
}
