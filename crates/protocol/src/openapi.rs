//! What all calls have in common in the description of an API: the form of an error, the named parts
//! of an address, a name for each call.

use crate::problem::{PROBLEM_MEDIA_TYPE, Problem};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Content, InfoBuilder, LicenseBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder, Schema,
};
use utoipa::{PartialSchema as _, ToSchema as _};

/// Completes a description that was gathered from handlers.
///
/// `segments` are the named parts of addresses with their meaning.
pub fn finished(mut api: OpenApi, title: &str, segments: &[(&str, &str)]) -> OpenApi {
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0");
    api.info = InfoBuilder::new()
        .title(title)
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Errors are problem details (RFC 9457); programs act on their `code`.",
        ))
        .license(Some(license.build()))
        .build();
    let mut by_token = false;
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            by_token |= operation.security.is_some();
            complete(operation, method, path, segments);
        }
    }
    let components = api.components.get_or_insert_default();
    let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "The token of a till, of a database, or of a person or machine.",
        ));
    let token = SecurityScheme::Http(token.build());
    if by_token {
        let schemes = &mut components.security_schemes;
        schemes.insert("token".to_owned(), token.into());
    }
    components
        .responses
        .insert("Problem".to_owned(), problem().into());
    api
}

/// A description as it is printed and kept: one line ends it.
pub fn to_text(api: &OpenApi) -> String {
    // Maps of text have no form that JSON lacks.
    let mut text = serde_json::to_string_pretty(api).unwrap_or_default();
    text.push('\n');
    text
}

/// The calls at one address, with their methods.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("post", &mut item.post),
        ("put", &mut item.put),
        ("delete", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn problem() -> utoipa::openapi::Response {
    let schema = Ref::from_schema_name(Problem::name());
    ResponseBuilder::new()
        .description("The call was not carried out; `detail` says why and `hint` what to do.")
        .content(PROBLEM_MEDIA_TYPE, Content::new(Some(schema)))
        .build()
}

fn complete(operation: &mut Operation, method: &str, path: &str, segments: &[(&str, &str)]) {
    let words: Vec<&str> = path
        .split(['/', '{', '}', '-', '.', '_'])
        .filter(|word| !word.is_empty())
        .collect();
    operation.operation_id = Some(format!("{method}_{}", words.join("_")));
    let in_path = path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let meaning = segments.iter().find(|(known, _)| *known == name);
        Some(segment(name, meaning.map_or("", |(_, meaning)| meaning)))
    });
    let parameters = operation.parameters.get_or_insert_default();
    parameters.splice(0..0, in_path.map(RefOr::T));
    for answer in operation.responses.responses.values_mut() {
        if let RefOr::T(answer) = answer
            && answer.description.is_empty()
        {
            "Done.".clone_into(&mut answer.description);
        }
    }
    let default = RefOr::Ref(Ref::from_response_name("Problem"));
    operation
        .responses
        .responses
        .insert("default".to_owned(), default);
}

fn segment(name: &str, meaning: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(meaning))
        .schema(Some(Schema::Object(Object::with_type(Type::String))))
        .build()
}
