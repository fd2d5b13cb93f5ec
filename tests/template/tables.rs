//! The tables are those of `infra/tables.json`, and as safe as a table gets.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::template::Template;

use crate::{read_json, stacks};

/// A key as CloudFormation has it.
fn key(partition: &Value, sort: &Value) -> Value {
    json!([{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}])
}

/// The resource that is a table of the data file.
fn resource(table: &str) -> String {
    let (first, rest) = table.split_at(1);
    format!("{}{rest}Table", first.to_uppercase())
}

#[test]
fn the_tables_are_those_of_the_data_file() {
    let facts = read_json("infra/tables.json");
    let facts = facts.as_object().unwrap();
    for (name, stack) in stacks() {
        let tables = stack.resources("AWS::DynamoDB::Table");
        let expected: BTreeSet<String> = facts.keys().map(|table| resource(table)).collect();
        assert_eq!(tables.keys().cloned().collect::<BTreeSet<_>>(), expected, "{name}");
        for (table, fact) in facts {
            let properties = &tables[&resource(table)]["Properties"];
            assert_eq!(properties["KeySchema"], key(&fact["partitionKey"], &fact["sortKey"]), "{table}");
            let ttl = json!({"AttributeName": fact["ttlAttribute"], "Enabled": true});
            assert_eq!(properties["TimeToLiveSpecification"], ttl, "{table}");
            let mut attributes = vec![&fact["partitionKey"], &fact["sortKey"]];
            let mut indexes = Vec::new();
            for (index, fact) in fact["indexes"].as_object().unwrap() {
                attributes.extend([&fact["partitionKey"], &fact["sortKey"]]);
                indexes.push(json!({
                    "IndexName": index, "KeySchema": key(&fact["partitionKey"], &fact["sortKey"]),
                    "Projection": {"ProjectionType": fact["projection"]},
                }));
            }
            assert_eq!(properties["GlobalSecondaryIndexes"], json!(indexes), "{table}");
            let attributes: Vec<Value> =
                attributes.iter().map(|name| json!({"AttributeName": name, "AttributeType": "S"})).collect();
            assert_eq!(properties["AttributeDefinitions"], json!(attributes), "{table}");
        }
    }
}

#[test]
fn every_table_is_on_demand_backed_up_encrypted_and_protected() {
    let template = Template::read();
    for (parameter, protected) in [("true", "true"), ("false", "false")] {
        let stack = template.with(&[("DeletionProtection", parameter)]);
        for (name, table) in stack.resources("AWS::DynamoDB::Table") {
            let properties = &table["Properties"];
            assert_eq!(properties["BillingMode"], "PAY_PER_REQUEST", "{name}");
            assert_eq!(properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true, "{name}");
            assert_eq!(properties["SSESpecification"]["SSEEnabled"], true, "{name}");
            assert_eq!(properties["DeletionProtectionEnabled"], protected, "{name}");
            assert_eq!(table["UpdateReplacePolicy"], "Retain", "{name}: a change that replaces it keeps the old one");
        }
    }
}

#[test]
fn every_function_with_tables_is_told_their_names() {
    for (_, stack) in stacks() {
        for function in stack.functions().iter().filter(|function| function.name != "provision") {
            let variables = function.variables();
            assert_eq!(variables["CHAT_TABLE"], "${ChatTable}");
            assert_eq!(variables["CONNECTIONS_TABLE"], "${ConnectionsTable}");
        }
    }
}
