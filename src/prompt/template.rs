//! A checkpoint's chat template: Jinja, as transformers reads it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    Role, Turn, TurnPart,
    jinja::{Failure, Jinja},
};
use crate::{
    checkpoint::ModelFiles,
    config::parse_json,
    error::{Error, Result},
};

/// LLaVA 1.5's own format (Vicuna v1 without a system line), for folders that have no template.
const VICUNA: &str = "\
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {{- 'ASSISTANT: ' + message.content | map(attribute='text') | join + eos_token -}}
    {%- else -%}
        {%- if message.role == 'user' %}{{ 'USER: ' }}{% endif -%}
        {%- for part in message.content | selectattr('type', 'equalto', 'image') %}{{ image_token + '\\n' }}{% endfor -%}
        {{- message.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join + ' ' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif -%}";

/// The template's field in JSON files.
const FIELD: &str = "chat_template";

/// Where the folder has no file that says so.
const BUILT_IN: &str = "the built-in Vicuna template";

/// The special tokens that templates write by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpecialTokens {
    pub bos: String,
    pub eos: String,
    pub pad: String,
    pub unk: String,
    pub image: String,
}

/// A chat template, known to work.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    jinja: Jinja,
    origin: PathBuf,
    /// Of what users say.
    style: ContentStyle,
    /// Of what others say: some templates want parts of users alone.
    others: [(Role, ContentStyle); 2],
    tokens: SpecialTokens,
}

/// How a template wants the content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContentStyle {
    /// `[{"type": "image"}, {"type": "text", "text": …}]`, as multimodal templates do.
    Parts,
    /// One string, as templates of plain language models do; a picture is its token on a line of its own.
    Text,
}

impl ChatTemplate {
    /// The template of a folder: the one in `processor_config.json`, in `chat_template.json`, `chat_template.jinja`, or the one in
    /// `tokenizer_config.json`; Vicuna v1 where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if the template is no valid Jinja, or does not write what it is given.
    pub fn from_files(files: &ModelFiles, tokens: SpecialTokens) -> Result<Self> {
        let (source, origin) = find(files)?.unwrap_or((VICUNA.to_owned(), BUILT_IN.into()));
        let jinja = Jinja::new(&source).map_err(|problem| Error::model(&origin, problem))?;
        let others = [Role::System, Role::Assistant].map(|role| (role, ContentStyle::Parts));
        let mut template = Self { jinja, origin, style: ContentStyle::Parts, others, tokens };
        if let Err(parts) = template.probe() {
            template.style = ContentStyle::Text;
            template.others = template.others.map(|(role, _)| (role, ContentStyle::Text));
            if template.probe().is_err() {
                return Err(Error::model(template.origin, parts));
            }
            return Ok(template);
        }
        for number in 0..template.others.len() {
            if !template.writes_other(number) {
                template.others[number].1 = ContentStyle::Text;
                if !template.writes_other(number) {
                    // It has no place for them in any case, or refuses them: that is said when somebody comes to it.
                    template.others[number].1 = ContentStyle::Parts;
                }
            }
        }
        Ok(template)
    }

    /// The file it is from.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// Renders a picture and a question, and checks that both come out.
    fn probe(&self) -> Result<(), String> {
        const QUESTION: &str = "what is shown";
        let parts = vec![TurnPart::Image, TurnPart::Text(QUESTION.into())];
        let rendered =
            self.try_render(&[Turn { role: Role::User, parts }]).map_err(|failure| failure.problem)?;
        let images = rendered.matches(&self.tokens.image).count();
        if images == 1 && rendered.contains(QUESTION) && !is_dump(&rendered) {
            return Ok(());
        }
        Err(format!(
            "expected a chat template that writes a picture as one {} and the user's words, found one that makes {rendered:?} of them",
            self.tokens.image
        ))
    }

    /// Whether what one of the others says comes out as it was said.
    fn writes_other(&self, number: usize) -> bool {
        const SAID: &str = "what was said";
        let turn = |role, parts| Turn { role, parts };
        let question = |text: &str| turn(Role::User, vec![TurnPart::Image, TurnPart::Text(text.into())]);
        let (role, _) = self.others[number];
        let said = turn(role, vec![TurnPart::Text(SAID.into())]);
        let turns = match role {
            Role::System => vec![said, question("what is shown")],
            _ => vec![
                question("what is shown"),
                said,
                turn(Role::User, vec![TurnPart::Text("and then".into())]),
            ],
        };
        self.try_render(&turns).is_ok_and(|rendered| rendered.contains(SAID) && !is_dump(&rendered))
    }

    /// The conversation as text, ready for the next answer.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the template's own complaint, [`Error::Model`] where it fails.
    pub fn render(&self, turns: &[Turn]) -> Result<String> {
        self.try_render(turns).map_err(|Failure { problem, is_refusal }| match is_refusal {
            true => Error::Refused { path: self.origin.clone(), problem },
            false => Error::model(&self.origin, problem),
        })
    }

    fn try_render(&self, turns: &[Turn]) -> Result<String, Failure> {
        let messages: Vec<Value> =
            turns.iter().map(|turn| json!({ "role": turn.role, "content": self.content(turn) })).collect();
        let mut variables = json!({
            "messages": messages,
            "tools": null,
            "documents": null,
            "add_generation_prompt": true,
        });
        let tokens = &self.tokens;
        for (name, token) in [
            ("bos_token", &tokens.bos),
            ("eos_token", &tokens.eos),
            ("pad_token", &tokens.pad),
            ("unk_token", &tokens.unk),
            ("image_token", &tokens.image),
        ] {
            // One that a model has not is undefined, which templates may ask.
            if !token.is_empty() {
                variables[name] = token.as_str().into();
            }
        }
        self.jinja.render(variables)
    }

    fn content(&self, turn: &Turn) -> Value {
        let other = self.others.iter().find(|(role, _)| *role == turn.role);
        match other.map_or(self.style, |(_, style)| *style) {
            ContentStyle::Parts => turn
                .parts
                .iter()
                .map(|part| match part {
                    TurnPart::Image => json!({ "type": "image" }),
                    TurnPart::Text(text) => json!({ "type": "text", "text": text }),
                })
                .collect(),
            ContentStyle::Text => turn
                .parts
                .iter()
                .map(|part| match part {
                    TurnPart::Image => format!("{}\n", self.tokens.image),
                    TurnPart::Text(text) => text.clone(),
                })
                .collect::<String>()
                .into(),
        }
    }
}

/// Whether a list of parts was written as it is.
fn is_dump(rendered: &str) -> bool {
    ["'type': 'text'", "\"type\": \"text\"", "\"type\":\"text\""].iter().any(|part| rendered.contains(part))
}

/// The places of a template, in the order in which transformers' processors (5.23) look: what stands within a processor's
/// configuration outranks files of its own, and the older of those the newer.
const PLACES: [&str; 4] =
    ["processor_config.json", "chat_template.json", "chat_template.jinja", "tokenizer_config.json"];

/// The source of the folder's template, and the file it is from.
fn find(files: &ModelFiles) -> Result<Option<(String, PathBuf)>> {
    for name in PLACES {
        let Some(bytes) = files.read(name)? else { continue };
        let path = files.path(name);
        if name.ends_with(".jinja") {
            let source = String::from_utf8(bytes.into_owned())
                .map_err(|_| Error::model(&path, "expected UTF-8 text, found other bytes"))?;
            return Ok(Some((source, path)));
        }
        let json = parse_json(&bytes, &path)?;
        let source = match json.get(FIELD) {
            None | Some(Value::Null) => continue,
            Some(Value::String(source)) => Some(source),
            Some(named) => named_default(named),
        };
        let Some(source) = source else {
            return Err(Error::model(
                path,
                "chat_template: expected a text, or several of which one is called `default`, found neither",
            ));
        };
        return Ok(Some((source.clone(), path)));
    }
    Ok(None)
}

/// The template called `default` among named ones, or the first: a list of names and templates, or an object of them.
fn named_default(named: &Value) -> Option<&String> {
    let template = match named {
        Value::Array(list) => {
            let is_default = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
            list.iter().find(is_default).or(list.first())?.get("template")?
        }
        Value::Object(object) => object.get("default").or(object.values().next())?,
        _ => return None,
    };
    match template {
        Value::String(source) => Some(source),
        _ => None,
    }
}
