//! Whoever deploys is told what each parameter and output is for, by the template and by the README; and whoever reads the
//! template, when each condition holds.

use tests::template::Template;

use crate::read;

#[test]
fn every_parameter_and_output_is_described() {
    let template = Template::read();
    for part in ["Parameters", "Outputs"] {
        for (name, entry) in template.part(part) {
            assert!(entry["Description"].as_str().is_some_and(|text| text.len() > 10), "{part}: {name}");
        }
    }
}

#[test]
fn every_parameter_stands_in_one_group_of_the_console() {
    let template = Template::read();
    let groups = &template.part("Metadata")["AWS::CloudFormation::Interface"]["ParameterGroups"];
    let mut grouped: Vec<&str> = groups
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["Parameters"].as_array().unwrap())
        .map(|name| name.as_str().unwrap())
        .collect();
    grouped.sort_unstable();
    let mut parameters: Vec<&str> = template.part("Parameters").keys().map(String::as_str).collect();
    parameters.sort_unstable();
    assert_eq!(grouped, parameters);
}

#[test]
fn the_readme_has_every_parameter_and_output() {
    let readme = read("README.md");
    let template = Template::read();
    for part in ["Parameters", "Outputs"] {
        let passage = readme.split(&format!("\n### {part}\n")).nth(1).unwrap().split("\n### ").next().unwrap();
        let rows: Vec<&str> = passage.lines().filter_map(|line| line.strip_prefix("| `")).collect();
        for name in template.part(part).keys() {
            let is_told = rows.iter().any(|row| row.split(" | ").next().unwrap().contains(&format!("{name}`")));
            assert!(is_told, "README.md does not tell of {name}");
        }
    }
}

/// Tables that refuse to go keep a failed first deployment from being rolled back: aws/aws-cdk#24581.
#[test]
fn the_readme_deploys_unprotected_tables_first_and_names_parameters_that_there_are() {
    let readme = read("README.md").replace("\\\n", "");
    let template = Template::read();
    let commands = readme.lines().filter_map(|line| line.trim().strip_prefix("sam deploy --parameter-overrides "));
    let commands: Vec<&str> = commands.collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    for command in commands {
        let overrides: Vec<(&str, &str)> = command.split(' ').filter_map(|word| word.split_once('=')).collect();
        assert!(overrides.contains(&("DeletionProtection", "false")), "{command}");
        for (name, _) in overrides {
            assert!(template.part("Parameters").contains_key(name), "{name} in {command}");
        }
    }
    assert_eq!(template.part("Parameters")["DeletionProtection"]["Default"], "true");
}

/// Comments are not read with the rest of it.
#[test]
fn every_condition_has_its_comment() {
    let text = read("infra/template.yaml");
    let lines: Vec<&str> = text.lines().skip_while(|line| *line != "Conditions:").collect();
    for name in Template::read().part("Conditions").keys() {
        let place = lines.iter().position(|line| line.starts_with(&format!("  {name}: "))).unwrap();
        assert!(lines[place - 1].starts_with("  # "), "{name}");
    }
}
