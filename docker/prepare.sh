#!/bin/sh
# Prepares what the parts need before they start; each line can be repeated, and an upgrade runs them again.
set -eu
airflow db migrate
# a number of slots that an operator has set is not changed
airflow pools get spark > /dev/null 2>&1 || airflow pools set spark 1 'one Spark driver at a time'
daybook create-topic --set
