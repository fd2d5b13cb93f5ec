//! Whoever deploys is told what each parameter and output is for: by the template, and by the README.

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
fn the_readme_has_every_parameter() {
    let readme = read("README.md");
    for name in Template::read().part("Parameters").keys() {
        assert!(readme.contains(&format!("`{name}`")), "README.md does not tell of {name}");
    }
}
