"""Makes a user who may use S3, a key of it and the bucket of the tests: four requests. Prints the key and its secret."""

import json
import sys

import boto3

REGION = "eu-west-3"


def client(service):
    names = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nobody"}
    return boto3.client(service, endpoint_url=sys.argv[1], region_name=REGION, **names)


policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
iam = client("iam")
iam.create_user(UserName="affluent")
iam.put_user_policy(UserName="affluent", PolicyName="lake", PolicyDocument=json.dumps(policy))
key = iam.create_access_key(UserName="affluent")["AccessKey"]
client("s3").create_bucket(Bucket="affluent-test", CreateBucketConfiguration={"LocationConstraint": REGION})
print(key["AccessKeyId"], key["SecretAccessKey"])
