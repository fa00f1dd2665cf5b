# shellcheck shell=bash
# The AWS CLI, and what this bazaar has there: found by its tag, so that no list kept here can be
# wrong. Sourced after settings.sh.

# In scripts nobody is there to turn pages.
export AWS_PAGER=''

# cloud ARGUMENTS…: the CLI, in the region of the settings.
cloud() {
  aws --region "$EC2_REGION" --output text "$@" ||
    die "AWS refused 'aws $1 $2' in EC2_REGION=$EC2_REGION, see above"
}

# Is there a CLI, are there credentials, is there such a region? Each is asked for by itself, so
# that the answer names the remedy.
check_cloud() {
  local guide=https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html
  need aws "$guide, or: pip install awscli"
  local answer
  if ! answer=$(aws --region us-east-1 --output text \
    sts get-caller-identity --query Account 2>&1); then
    case $answer in
      *"locate credentials"*)
        die "no AWS credentials: run 'aws configure', or set AWS_PROFILE, or AWS_ACCESS_KEY_ID" \
          "and AWS_SECRET_ACCESS_KEY (in a lab: AWS_SESSION_TOKEN too)"
        ;;
      *Expired*)
        die "the AWS credentials have expired: get new ones, and run 'aws configure' or set" \
          "AWS_SESSION_TOKEN anew"
        ;;
      *InvalidClientTokenId* | *SignatureDoesNotMatch* | *AuthFailure*)
        die "AWS does not know the credentials: look at 'aws configure list', AWS_PROFILE," \
          "AWS_SESSION_TOKEN"
        ;;
      *) die "AWS does not answer: $answer" ;;
    esac
  fi
  answer=$(aws --region us-east-1 --output text ec2 describe-regions \
    --query "Regions[?RegionName=='$EC2_REGION'].RegionName") ||
    die 'AWS refused to list its regions, see above'
  [ "$answer" = "$EC2_REGION" ] ||
    die "EC2_REGION=$EC2_REGION: this account has no such region; 'aws ec2 describe-regions" \
      "--region us-east-1 --output table' lists those that it has"
}

# Lines of: number, instance, state, type, subnet, public address, private address.
machines() {
  # shellcheck disable=SC2016 # the backquotes are JMESPath's
  cloud ec2 describe-instances \
    --filters "Name=tag:bazaar,Values=$EC2_NAME" \
    'Name=instance-state-name,Values=pending,running,stopping,stopped,shutting-down' \
    --query 'Reservations[].Instances[].[Tags[?Key==`bazaar-machine`]|[0].Value,
      InstanceId,State.Name,InstanceType,SubnetId,PublicIpAddress,PrivateIpAddress]' |
    sort
}

group() {
  cloud ec2 describe-security-groups \
    --filters "Name=group-name,Values=$EC2_NAME" "Name=tag:bazaar,Values=$EC2_NAME" \
    --query 'SecurityGroups[].GroupId'
}

key_pair() {
  cloud ec2 describe-key-pairs \
    --filters "Name=key-name,Values=$EC2_NAME" "Name=tag:bazaar,Values=$EC2_NAME" \
    --query 'KeyPairs[].KeyPairId'
}

volumes() {
  cloud ec2 describe-volumes \
    --filters "Name=tag:bazaar,Values=$EC2_NAME" \
    'Name=status,Values=creating,available,in-use,error' \
    --query 'Volumes[].VolumeId'
}

# tags KIND: marks what is made as this bazaar's.
tags() {
  printf 'ResourceType=%s,Tags=[{Key=bazaar,Value=%s},{Key=Name,Value=%s}]' \
    "$1" "$EC2_NAME" "$EC2_NAME"
}
