//! From what a user or a registry gives to descriptors of messages. `.proto` files are compiled here, without `protoc`.

use crate::error::{Error, Result};
use crate::format::RegisteredSchema;
use crate::suggest::closest;
use prost_reflect::{DescriptorPool, FileDescriptor, MessageDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};
use std::path::Path;

/// The name that a schema's own file goes by.
const OWN: &str = "schema.proto";

/// What files of Confluent's registry may import without naming it: annotations, and a decimal number.
const CONFLUENT: &[(&str, &str)] = &[
    (
        "confluent/meta.proto",
        r#"syntax = "proto3"; package confluent; import "google/protobuf/descriptor.proto";
        message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
        extend google.protobuf.FileOptions { Meta file_meta = 1088; }
        extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
        extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
        extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
        extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }"#,
    ),
    (
        "confluent/type/decimal.proto",
        r#"syntax = "proto3"; package confluent.type;
        message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }"#,
    ),
];

/// Files that are texts, each by its name.
struct Texts(Vec<(String, String)>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let own = self.0.iter().map(|(known, text)| (known.as_str(), text.as_str()));
        match own.chain(CONFLUENT.iter().copied()).find(|(known, _)| *known == name) {
            Some((_, text)) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn compile(texts: Vec<(String, String)>, folder: Option<&Path>, file: &str) -> Result<DescriptorPool, String> {
    let mut files = ChainFileResolver::new();
    files.add(Texts(texts));
    if let Some(folder) = folder {
        files.add(IncludeFileResolver::new(folder.to_path_buf()));
    }
    files.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(files);
    compiler.include_imports(true);
    compiler.open_file(file).map_err(|error| error.to_string())?;
    Ok(compiler.descriptor_pool())
}

/// The schema of a registry, with all that it refers to.
pub(super) fn registered(schema: &RegisteredSchema) -> Result<DescriptorPool, String> {
    let mut texts = schema.references.clone();
    texts.push((OWN.to_string(), schema.text.clone()));
    compile(texts, None, OWN)
}

/// The type at a place in the schema's own file.
pub(super) fn at(pool: &DescriptorPool, place: &[usize]) -> Option<MessageDescriptor> {
    let (first, inner) = place.split_first()?;
    let file = pool.get_file_by_name(OWN)?;
    let mut found = file.messages().nth(*first)?;
    for index in inner {
        // Entries of maps are types too, and have places.
        let child = found.child_messages().nth(*index);
        found = child?;
    }
    Some(found)
}

/// The type in option `schema`, by the name in option `message`.
pub(super) fn given(schema: &str, message: Option<&str>) -> Result<MessageDescriptor> {
    let path = Path::new(schema);
    let wrong = |reason: String| {
        Error::user("option \"schema\" holds no Protobuf schema")
            .with_detail(reason)
            .with_hint("Write the text of a .proto file, or the path of one, or of a descriptor set.")
    };
    let is_text = schema.contains([';', '{', '\n']);
    let (pool, file) = if is_text {
        (compile(vec![(OWN.to_string(), schema.to_string())], None, OWN).map_err(wrong)?, OWN.to_string())
    } else {
        let bytes = std::fs::read(path).map_err(|error| Error::io(schema, &error))?;
        if path.extension().is_some_and(|extension| extension == "proto") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (compile(Vec::new(), Some(folder), &name).map_err(wrong)?, name)
        } else {
            let pool = DescriptorPool::decode(bytes.as_slice()).map_err(|error| wrong(error.to_string()))?;
            // A set lists what a file imports before it.
            let last = pool.files().last().map(|file: FileDescriptor| file.name().to_string());
            (pool, last.unwrap_or_default())
        }
    };
    match message {
        Some(name) => pool.get_message_by_name(name).ok_or_else(|| {
            let names: Vec<String> = pool.all_messages().map(|found| found.full_name().to_string()).collect();
            let error = Error::user(format!("the schema has no message \"{name}\""));
            match closest(name, names.iter().map(String::as_str)) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint("Write its name with its package, such as 'shop.Order'."),
            }
        }),
        None => pool
            .get_file_by_name(&file)
            .and_then(|file| file.messages().next())
            .ok_or_else(|| wrong("It has no message.".to_string())),
    }
}
