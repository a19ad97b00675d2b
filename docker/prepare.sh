#!/bin/sh
# What must be there before the parts start; each line can be repeated, an upgrade runs them again.
set -eu
airflow db migrate
# an operator's other number of slots is left alone
airflow pools get spark > /dev/null 2>&1 || airflow pools set spark 1 'one Spark driver at a time'
daybook create-topic --set
