//! `infra/template.yaml` as it would be deployed: read once, then resolved for a choice of parameters, as CloudFormation
//! does, without asking anybody. What only a deployment knows stays as its name, such as `${ChatTable.Arn}`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

/// What CloudFormation itself knows, for a stack that does not exist.
const PSEUDO_PARAMETERS: [(&str, &str); 5] = [
    ("AWS::AccountId", "123456789012"),
    ("AWS::Partition", "aws"),
    ("AWS::Region", "eu-central-1"),
    ("AWS::StackName", "madang"),
    ("AWS::URLSuffix", "amazonaws.com"),
];

/// The template, its short forms (`!Ref`) written out (`{"Ref": …}`).
pub struct Template(Value);

/// A stack: the template with parameters.
pub struct Stack {
    document: Value,
    parameters: BTreeMap<String, Value>,
}

/// A function of a stack.
pub struct Function {
    /// Its crate, its package and its binary.
    pub name: String,
    /// Its name in the template.
    pub resource: String,
    /// Its properties, with what all functions have.
    pub properties: Value,
    /// How it is built.
    pub metadata: Value,
}

impl Function {
    /// Its environment, but for what Lambda itself sets.
    #[must_use]
    pub fn variables(&self) -> BTreeMap<String, String> {
        let variables = self.properties["Environment"]["Variables"].as_object();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        variables.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
    }
}

impl Template {
    /// Reads it.
    ///
    /// # Panics
    /// It is not there, or not YAML.
    #[must_use]
    pub fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/template.yaml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let document: yaml_serde::Value = yaml_serde::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
        Self(written_out(document))
    }

    /// A part of it as it stands there, such as `Parameters`.
    #[must_use]
    pub fn part(&self, name: &str) -> &Map<String, Value> {
        self.0[name].as_object().unwrap_or_else(|| panic!("the template has no {name}"))
    }

    /// The stack that it makes with these parameters and the defaults of the others.
    ///
    /// # Panics
    /// A parameter is not the template's.
    #[must_use]
    pub fn with(&self, parameters: &[(&str, &str)]) -> Stack {
        let mut values: BTreeMap<String, String> =
            PSEUDO_PARAMETERS.map(|(name, value)| (name.into(), value.into())).into();
        for (name, parameter) in self.part("Parameters") {
            let default = &parameter["Default"];
            values.insert(name.clone(), default.as_str().map_or_else(|| default.to_string(), str::to_owned));
        }
        for (name, value) in parameters {
            assert!(values.insert((*name).to_owned(), (*value).to_owned()).is_some(), "{name} is no parameter");
        }
        let value = |(name, value): (String, String)| {
            let is_list = self.0["Parameters"][&name]["Type"] == "CommaDelimitedList";
            let list = || value.split(',').map(Value::from).collect();
            (name, if is_list { list() } else { Value::from(value) })
        };
        Stack { document: self.0.clone(), parameters: values.into_iter().map(value).collect() }
    }
}

impl Stack {
    /// Its resources of a type, resolved, by their names.
    #[must_use]
    pub fn resources(&self, kind: &str) -> BTreeMap<String, Value> {
        let all = self.document["Resources"].as_object().expect("resources");
        let wanted = all.iter().filter(|(_, resource)| {
            resource["Type"] == kind && resource["Condition"].as_str().is_none_or(|name| self.condition(name))
        });
        wanted.map(|(name, resource)| (name.clone(), self.resolve(resource).unwrap_or_default())).collect()
    }

    /// Its functions.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        let shared = self.resolve(&self.document["Globals"]["Function"]).unwrap_or_default();
        let function = |(resource, mut value): (String, Value)| {
            let mut properties = shared.clone();
            merge(&mut properties, value["Properties"].take());
            let metadata = value["Metadata"].take();
            let name = metadata["BuildProperties"]["Binary"].as_str().unwrap_or_default().to_owned();
            Function { name, resource, properties, metadata }
        };
        self.resources("AWS::Serverless::Function").into_iter().map(function).collect()
    }

    /// The function with a name.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn function(&self, name: &str) -> Function {
        let mut functions = self.functions().into_iter();
        functions
            .find(|function| function.name == name)
            .unwrap_or_else(|| panic!("the template has no function {name}"))
    }

    /// What the template's rules have against its parameters.
    #[must_use]
    pub fn objections(&self) -> Vec<&str> {
        let rules = self.document["Rules"].as_object().into_iter().flat_map(Map::values);
        let rules = rules.filter(|rule| self.holds(&rule["RuleCondition"]));
        let assertions = rules.flat_map(|rule| rule["Assertions"].as_array().into_iter().flatten());
        let broken = assertions.filter(|assertion| !self.holds(&assertion["Assert"]));
        broken.filter_map(|assertion| assertion["AssertDescription"].as_str()).collect()
    }

    /// What a value is here; nothing where the template says so.
    fn resolve(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Array(values) => Some(values.iter().filter_map(|value| self.resolve(value)).collect()),
            Value::Object(map) => match map.iter().next() {
                Some((name, argument)) if map.len() == 1 && (name == "Ref" || name.starts_with("Fn::")) => {
                    self.call(name, argument)
                }
                _ => Some(map.iter().filter_map(|(name, value)| Some((name.clone(), self.resolve(value)?))).collect()),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
        }
    }

    fn call(&self, function: &str, argument: &Value) -> Option<Value> {
        let resolved = || self.resolve(argument).unwrap_or_default();
        match function {
            "Ref" if argument == "AWS::NoValue" => None,
            "Ref" => {
                let name = argument.as_str().unwrap_or_default();
                Some(self.parameters.get(name).cloned().unwrap_or_else(|| format!("${{{name}}}").into()))
            }
            "Fn::GetAtt" => Some(match argument {
                Value::Array(path) => format!("${{{}}}", joined(path, ".")).into(),
                path => format!("${{{}}}", path.as_str().unwrap_or_default()).into(),
            }),
            "Fn::If" => {
                let condition = argument[0].as_str().unwrap_or_default();
                self.resolve(&argument[if self.condition(condition) { 1 } else { 2 }])
            }
            "Fn::Sub" => Some(self.substitute(&resolved()).into()),
            "Fn::Join" => {
                let argument = resolved();
                Some(joined(argument[1].as_array()?, argument[0].as_str()?).into())
            }
            "Fn::Split" => Some(resolved()[1].as_str()?.split(argument[0].as_str()?).map(Value::from).collect()),
            "Fn::Select" => {
                let argument = resolved();
                let index = usize::try_from(argument[0].as_u64()?).ok()?;
                Some(argument[1].get(index).unwrap_or_else(|| panic!("too short: {argument}")).clone())
            }
            "Fn::FindInMap" => {
                let keys = resolved();
                let mut place = &self.document["Mappings"];
                for key in keys.as_array()? {
                    place = &place[key.as_str()?];
                }
                Some(place.clone())
            }
            _ => panic!("this reader does not know {function}"),
        }
    }

    fn substitute(&self, argument: &Value) -> String {
        let (text, own) = match argument {
            Value::Array(parts) => (parts[0].as_str(), parts[1].as_object()),
            text => (text.as_str(), None),
        };
        let mut text = text.expect("a text to substitute in").to_owned();
        let own = own.into_iter().flatten().map(|(name, value)| (name, value.clone()));
        let parameters = self.parameters.iter().map(|(name, value)| (name, value.clone()));
        for (name, value) in own.chain(parameters) {
            text = text.replace(&format!("${{{name}}}"), value.as_str().unwrap_or_default());
        }
        text
    }

    fn condition(&self, name: &str) -> bool {
        self.holds(&self.document["Conditions"][name])
    }

    fn holds(&self, condition: &Value) -> bool {
        let (function, argument) = condition.as_object().and_then(|map| map.iter().next()).expect("a condition");
        let mut parts = argument.as_array().into_iter().flatten();
        match function.as_str() {
            "Condition" => self.condition(argument.as_str().unwrap_or_default()),
            "Fn::Not" => !parts.any(|part| self.holds(part)),
            "Fn::And" => parts.all(|part| self.holds(part)),
            "Fn::Or" => parts.any(|part| self.holds(part)),
            "Fn::Equals" => self.resolve(&argument[0]) == self.resolve(&argument[1]),
            "Fn::Contains" | "Fn::EachMemberEquals" => {
                let (list, wanted) = (self.resolve(&argument[0]), self.resolve(&argument[1]));
                let mut members = list.iter().filter_map(Value::as_array).flatten();
                let is_wanted = |member: &Value| Some(member) == wanted.as_ref();
                if function == "Fn::Contains" { members.any(is_wanted) } else { members.all(is_wanted) }
            }
            _ => panic!("this reader does not know {function} in a condition"),
        }
    }
}

/// A tag of YAML is a function of CloudFormation.
fn written_out(value: yaml_serde::Value) -> Value {
    match value {
        yaml_serde::Value::Tagged(tagged) => {
            let name = tagged.tag.to_string().trim_start_matches('!').to_owned();
            let name = if matches!(name.as_str(), "Ref" | "Condition") { name } else { format!("Fn::{name}") };
            Value::Object(Map::from_iter([(name, written_out(tagged.value))]))
        }
        yaml_serde::Value::Sequence(values) => values.into_iter().map(written_out).collect(),
        yaml_serde::Value::Mapping(map) => map
            .into_iter()
            .map(|(name, value)| (name.as_str().expect("names are text").to_owned(), written_out(value)))
            .collect(),
        plain => serde_json::to_value(plain).expect("a plain value"),
    }
}

fn joined(values: &[Value], separator: &str) -> String {
    values.iter().map(|value| value.as_str().unwrap_or_default()).collect::<Vec<_>>().join(separator)
}

/// Puts a function's own properties over those that all have.
fn merge(shared: &mut Value, own: Value) {
    match (shared, own) {
        (Value::Object(shared), Value::Object(own)) => {
            for (name, value) in own {
                merge(shared.entry(name).or_insert(Value::Null), value);
            }
        }
        (shared, own) => *shared = own,
    }
}
