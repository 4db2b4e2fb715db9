//! Schemas of a registry that name types of others: each such type is written out where it is named first, as Avro's
//! specification wants named types in one schema.
//!
//! A name is resolved by Avro's rules: one without a dot belongs to the namespace around it.

use crate::format::RegisteredSchema;
use serde_json::Value;
use std::collections::BTreeMap;

/// The text of `schema` with the types that its references define; why not, where one of them is no JSON.
pub(super) fn written_out(schema: &RegisteredSchema) -> Result<String, String> {
    if schema.references.is_empty() {
        return Ok(schema.text.clone());
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| format!("not valid JSON: {error}"));
    let mut defined = BTreeMap::new();
    for (name, text) in &schema.references {
        let definition = parse(text).map_err(|reason| format!("its reference \"{name}\": {reason}"))?;
        let full_name = match definition["name"].as_str() {
            Some(own) => qualified(own, definition["namespace"].as_str().unwrap_or_default()),
            None => name.clone(),
        };
        defined.insert(full_name, definition);
    }
    let mut whole = parse(&schema.text)?;
    write_out(&mut whole, "", &mut defined);
    Ok(whole.to_string())
}

/// Puts what is `defined` into the place of its first name in `schema`, which stands in `namespace`.
fn write_out(schema: &mut Value, namespace: &str, defined: &mut BTreeMap<String, Value>) {
    match schema {
        Value::String(name) => {
            let full_name = qualified(name, namespace);
            let Some(mut definition) = defined.remove(&full_name).or_else(|| defined.remove(name.as_str())) else {
                return;
            };
            // A definition without a namespace does not take on the one around it.
            if let Some(fields) = definition.as_object_mut() {
                fields.entry("namespace").or_insert_with(|| "".into());
            }
            write_out(&mut definition, "", defined);
            *schema = definition;
        }
        Value::Array(branches) => branches.iter_mut().for_each(|branch| write_out(branch, namespace, defined)),
        Value::Object(parts) => {
            let own = parts.get("namespace").and_then(Value::as_str);
            let of_name = parts.get("name").and_then(Value::as_str).and_then(|name| name.rsplit_once('.'));
            let namespace = of_name.map(|(space, _)| space).or(own).unwrap_or(namespace).to_string();
            for field in parts.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten() {
                write_out(&mut field["type"], &namespace, defined);
            }
            for part in ["items", "values", "type"] {
                parts.get_mut(part).into_iter().for_each(|part| write_out(part, &namespace, defined));
            }
        }
        _ => {}
    }
}

/// A name with its namespace.
fn qualified(name: &str, namespace: &str) -> String {
    match namespace {
        "" => name.to_string(),
        _ if name.contains('.') => name.to_string(),
        _ => format!("{namespace}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::SchemaType;

    fn whole(text: &str, references: &[(&str, &str)]) -> Value {
        let references = references.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        let schema = RegisteredSchema { schema_type: SchemaType::Avro, text: text.to_string(), references };
        serde_json::from_str(&written_out(&schema).unwrap()).unwrap()
    }

    #[test]
    fn a_type_is_written_out_where_it_is_named_first() {
        let city = r#"{"type":"record","name":"City","namespace":"geo","fields":[{"name":"name","type":"string"}]}"#;
        let address =
            r#"{"type":"record","name":"shop.Address","fields":[{"name":"city","type":["null","geo.City"]}]}"#;
        let customer = r#"{"type":"record","name":"Customer","namespace":"shop","fields":[
            {"name":"homes","type":{"type":"array","items":"Address"}},
            {"name":"work","type":["null","shop.Address"]},{"name":"born","type":"geo.City"}]}"#;
        let whole = whole(customer, &[("geo.City", city), ("shop.Address", address)]);
        let home = &whole["fields"][0]["type"]["items"];
        assert_eq!((&home["name"], &home["fields"][0]["type"][1]["name"]), (&"shop.Address".into(), &"City".into()));
        assert_eq!(whole["fields"][1]["type"][1], "shop.Address");
        assert_eq!(whole["fields"][2]["type"], "geo.City");
    }

    #[test]
    fn a_definition_keeps_to_its_own_namespace_and_a_type_may_name_itself() {
        let node = r#"{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]}]}"#;
        let list = r#"{"type":"record","name":"a.List","fields":[{"name":"first","type":{"type":"Node"}}]}"#;
        let whole = whole(list, &[("Node", node)]);
        let first = &whole["fields"][0]["type"]["type"];
        assert_eq!((&first["namespace"], &first["fields"][0]["type"][1]), (&"".into(), &"Node".into()));
    }
}
