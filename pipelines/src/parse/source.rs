//! `CREATE SOURCE name (columns, WATERMARK FOR .., PRIMARY KEY ..) WITH (..)`, and so the items of a table.

use super::ddl::{CreateSource, DeclaredColumn, DeclaredKey, DeclaredWatermark};
use super::foreign;
use super::syntax::{Grammar, is_word};
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use thalweg_schemas::error::{Error, Position, Result};
use thalweg_schemas::table::Metadata;

impl Grammar<'_> {
    pub(super) fn source(&mut self) -> Result<CreateSource> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        let mut source =
            CreateSource { name, if_not_exists, columns: Vec::new(), watermark: None, key: None, options: Vec::new() };
        if self.parser.consume_token(&Token::LParen) {
            loop {
                self.source_item(&mut source)?;
                if self.parser.consume_token(&Token::RParen) {
                    break;
                }
                if !self.parser.consume_token(&Token::Comma) {
                    return Err(self.expected("\",\" or \")\""));
                }
                if self.parser.consume_token(&Token::RParen) {
                    break;
                }
            }
        }
        source.options = self.options()?;
        Ok(source)
    }

    fn source_item(&mut self, source: &mut CreateSource) -> Result<()> {
        if self.peek("PRIMARY") {
            let position = self.primary_key()?;
            self.expect_token(Token::LParen, "\"(\"")?;
            let mut columns = vec![self.name()?];
            while self.parser.consume_token(&Token::Comma) {
                columns.push(self.name()?);
            }
            self.expect_token(Token::RParen, "\")\"")?;
            self.not_enforced()?;
            return keyed(source, DeclaredKey { columns, position });
        }
        if self.peek("UNIQUE") || self.peek("CONSTRAINT") || self.peek("FOREIGN") {
            let error = Error::user("constraints of a source are not supported");
            return Err(self.here(error).with_hint("A source may have a PRIMARY KEY (...); leave other clauses out."));
        }
        if self.peek("WATERMARK") && is_word(&self.parser.peek_nth_token(1).token, "FOR") {
            let at = self.position();
            self.expect("WATERMARK")?;
            self.expect("FOR")?;
            let column = self.name()?;
            self.expect("AS")?;
            let promise_position = self.position();
            let promise = self.sql(Parser::parse_expr)?;
            if source.watermark.is_some() {
                return Err(Error::user(format!("source \"{}\" has two watermarks", source.name.value)).at(at));
            }
            source.watermark = Some(DeclaredWatermark { column, promise, promise_position });
            return Ok(());
        }
        let name = self.name()?;
        let type_position = self.position();
        // A computed column has the type of what computes it, metadata that of what it holds, unless another is written.
        let ends = matches!(self.parser.peek_token().token, Token::Comma | Token::RParen) || self.peek("NOT");
        let is_untyped = self.peek("AS") || ends && Metadata::by_name(&name.value).is_some();
        let data_type = if is_untyped { None } else { Some(self.data_type()?) };
        let (not_null, generated, default) = (false, None, None);
        let mut column = DeclaredColumn { name, data_type, type_position, not_null, generated, default };
        loop {
            if self.accept("NOT") {
                self.expect("NULL")?;
                column.not_null = true;
            } else if self.accept("NULL") {
                column.not_null = false;
            } else if self.peek("AS") || self.peek("GENERATED") {
                column.generated = Some(self.generated(column.data_type.is_some())?);
            } else if self.peek("PRIMARY") {
                let position = self.primary_key()?;
                self.not_enforced()?;
                keyed(source, DeclaredKey { columns: vec![column.name.clone()], position })?;
            } else if self.peek("DEFAULT") {
                let position = self.position();
                self.expect("DEFAULT")?;
                column.default = Some((self.sql(Parser::parse_expr)?, position));
            } else if let Some((word, hint)) = self.constraint() {
                let error = Error::user(format!("{word} of a column is not supported"));
                return Err(self.here(error).with_hint(hint));
            } else {
                break;
            }
        }
        source.columns.push(column);
        Ok(())
    }

    /// `PRIMARY KEY`, and where it stands.
    fn primary_key(&mut self) -> Result<Position> {
        let position = self.position();
        self.expect("PRIMARY")?;
        self.expect("KEY")?;
        Ok(position)
    }

    /// `NOT ENFORCED`, which says nothing here: the records decide.
    fn not_enforced(&mut self) -> Result<()> {
        if self.peek("NOT") && is_word(&self.parser.peek_nth_token(1).token, "ENFORCED") {
            self.expect("NOT")?;
            self.expect("ENFORCED")?;
        }
        Ok(())
    }

    /// A constraint that columns of sources do not have, and what to do instead.
    fn constraint(&self) -> Option<(String, &'static str)> {
        let word = self.parser.peek_token().token.to_string().to_uppercase();
        let hint = foreign::constraint(&word)?;
        Some((word, hint))
    }

    /// `AS expr` or `GENERATED ALWAYS AS expr [STORED]`
    fn generated(&mut self, is_typed: bool) -> Result<Expr> {
        if self.accept("GENERATED") {
            self.expect("ALWAYS")?;
        }
        self.expect("AS")?;
        // In brackets, so that what follows is not taken for more of it.
        let expr = match is_typed && self.parser.consume_token(&Token::LParen) {
            true => {
                let expr = self.sql(Parser::parse_expr)?;
                self.expect_token(Token::RParen, "\")\"")?;
                expr
            }
            false => self.sql(Parser::parse_expr)?,
        };
        self.accept("STORED");
        Ok(expr)
    }
}

fn keyed(source: &mut CreateSource, key: DeclaredKey) -> Result<()> {
    match &source.key {
        Some(_) => Err(Error::user(format!("source \"{}\" has two primary keys", source.name.value))
            .with_hint("Write one PRIMARY KEY (...) with all of its columns.")
            .at(key.position)),
        None => {
            source.key = Some(key);
            Ok(())
        }
    }
}
