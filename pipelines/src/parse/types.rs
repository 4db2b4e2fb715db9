//! Types of columns: sqlparser's, and those made of others as Flink, DuckDB and BigQuery write them: `MAP<K, V>`,
//! `ROW<a INT, b TEXT>`, `STRUCT<..>` and `ARRAY<..>`, with round brackets too.

use super::syntax::{Grammar, is_word};
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, StructBracketKind, StructField};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use thalweg_schemas::error::Result;

impl Grammar<'_> {
    pub(super) fn data_type(&mut self) -> Result<DataType> {
        let mut ahead = 0;
        let found = self.part(&mut ahead)?;
        if ahead > 0 { Err(self.expected("\",\" or \")\"")) } else { Ok(found) }
    }

    /// A type within others. `ahead`: the brackets that `>>` has closed beyond it.
    fn part(&mut self, ahead: &mut usize) -> Result<DataType> {
        let brackets = [Token::Lt, Token::LParen].contains(&self.parser.peek_nth_token(1).token);
        let is = |word: &str| is_word(&self.parser.peek_token().token, word);
        let (map, row, array) = (is("MAP"), is("ROW") || is("STRUCT"), is("ARRAY"));
        if !brackets || !(map || row || array) {
            return self.sql(Parser::parse_data_type);
        }
        self.parser.next_token();
        let round = self.parser.next_token().token == Token::LParen;
        let mut found = if map {
            let key = self.part(ahead)?;
            self.expect_token(Token::Comma, "\",\"")?;
            let value = self.part(ahead)?;
            DataType::Map(Box::new(key), Box::new(value))
        } else if row {
            DataType::Struct(self.fields(ahead)?, StructBracketKind::AngleBrackets)
        } else {
            DataType::Array(ArrayElemTypeDef::AngleBracket(Box::new(self.part(ahead)?)))
        };
        self.closed(round, ahead)?;
        while *ahead == 0 && self.parser.consume_token(&Token::LBracket) {
            self.expect_token(Token::RBracket, "\"]\"")?;
            found = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(found), None));
        }
        Ok(found)
    }

    fn fields(&mut self, ahead: &mut usize) -> Result<Vec<StructField>> {
        let mut fields = Vec::new();
        loop {
            let field_name = Some(self.sql(Parser::parse_identifier)?);
            let _colon = self.parser.consume_token(&Token::Colon);
            fields.push(StructField { field_name, field_type: self.part(ahead)?, options: None });
            if *ahead > 0 || !self.parser.consume_token(&Token::Comma) {
                return Ok(fields);
            }
        }
    }

    fn closed(&mut self, round: bool, ahead: &mut usize) -> Result<()> {
        match round {
            true => self.expect_token(Token::RParen, "\",\" or \")\""),
            false if *ahead > 0 => {
                *ahead -= 1;
                Ok(())
            }
            false if self.parser.consume_token(&Token::ShiftRight) => {
                *ahead += 1;
                Ok(())
            }
            false => self.expect_token(Token::Gt, "\",\" or \">\""),
        }
    }
}
