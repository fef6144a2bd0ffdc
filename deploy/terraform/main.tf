# The role of the DaemonSet's service account, and the values that the chart is to be installed with.

data "aws_partition" "current" {}

locals {
  role_name = coalesce(var.role_name, "${var.cluster_name}-aws-node")
  irsa      = var.oidc_provider_arn != null
  issuer    = local.irsa ? split(":oidc-provider/", var.oidc_provider_arn)[1] : ""

  # The same files as without Terraform, in this partition.
  policies = {
    for feature in ["base-ipv4", "ipv6", "tags"] :
    feature => replace(file("${path.module}/../iam/${feature}.json"), "arn:aws:", "arn:${data.aws_partition.current.partition}:")
  }
}

data "aws_iam_policy_document" "irsa" {
  count = local.irsa ? 1 : 0

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [var.oidc_provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = ["system:serviceaccount:${var.namespace}:${var.service_account}"]
    }
  }
}

data "aws_iam_policy_document" "pod_identity" {
  count = local.irsa ? 0 : 1

  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]

    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-namespace"
      values   = [var.namespace]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-service-account"
      values   = [var.service_account]
    }
  }
}

resource "aws_iam_role" "this" {
  name                 = local.role_name
  description          = "Network daemon of the nodes of ${var.cluster_name}"
  assume_role_policy   = local.irsa ? data.aws_iam_policy_document.irsa[0].json : data.aws_iam_policy_document.pod_identity[0].json
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "this" {
  for_each = local.policies

  name   = each.key
  role   = aws_iam_role.this.id
  policy = each.value
}

resource "aws_eks_pod_identity_association" "this" {
  count = local.irsa ? 0 : 1

  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.this.arn
  tags            = var.tags
}
