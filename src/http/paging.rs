//! Pages of lists: how they are asked for and answered.

use std::str::FromStr;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::ground::{Page, PageError};
use crate::http::{Code, Problem};

/// Which page of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// The `next_cursor` of the page before.
    after: Option<String>,
    /// How many, 1 to 100; 20 unless asked otherwise.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

/// A page request that has been checked.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<C> {
    /// Where the page before ended.
    pub after: Option<C>,
    limit: usize,
}

impl Paging {
    /// For queries that ask for more than a page, and have its parameters among their own.
    pub fn of(after: Option<String>, limit: Option<u32>) -> Self {
        Self { after, limit }
    }

    /// Checks the size and reads the cursor.
    pub fn read<C: FromStr>(&self) -> Result<PageRequest<C>, Problem> {
        let limit = self.limit.unwrap_or(Page::<()>::LIMIT_DEFAULT);
        let misfit = |error: PageError, field: &str| {
            Problem::new(Code::ValidationFailed).detail(error.to_string()).field(field)
        };
        if !(1..=Page::<()>::LIMIT_MAX).contains(&limit) {
            return Err(misfit(PageError::Limit, "limit"));
        }
        let cursor = |text: &String| text.parse().map_err(|_| misfit(PageError::Cursor, "after"));
        let after = self.after.as_ref().map(cursor).transpose()?;
        Ok(PageRequest { after, limit: usize::try_from(limit).unwrap_or(1) })
    }
}

impl<C> PageRequest<C> {
    /// How many rows to read: one more than are shown, to see whether there are more.
    pub fn rows(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// The page as an answer, with a link to the next.
    pub fn answer<T: Serialize>(
        &self,
        request: &HttpRequest,
        rows: Vec<T>,
        cursor: impl Fn(&T) -> String,
    ) -> HttpResponse {
        let page = self.cut(rows, cursor);
        self.linked(request.path(), "", &page).json(page)
    }

    /// The page.
    pub fn cut<T>(&self, rows: Vec<T>, cursor: impl Fn(&T) -> String) -> Page<T> {
        Page::cut(rows, self.limit, cursor)
    }

    /// An answer with a link to the next page, if there is one. `query` is what the list is asked
    /// for besides, each parameter with an ampersand at its end.
    pub fn linked<T>(&self, path: &str, query: &str, page: &Page<T>) -> HttpResponseBuilder {
        let mut response = HttpResponse::Ok();
        if let Some(next) = &page.next_cursor {
            // Every cursor is made of ids, names of SKUs and results, and numbers: plain in a URL.
            let limit = self.limit;
            let link = format!("<{path}?{query}after={next}&limit={limit}>; rel=\"next\"");
            response.insert_header((header::LINK, link));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(after: Option<&str>, limit: Option<u32>) -> Result<PageRequest<i64>, Problem> {
        Paging { after: after.map(str::to_owned), limit }.read()
    }

    #[test]
    fn sizes_and_cursors_are_checked() {
        assert_eq!(read(None, None).unwrap().rows(), 21);
        assert_eq!(read(Some("7"), Some(100)).unwrap().after, Some(7));
        for (after, limit, field) in
            [(None, Some(0), "limit"), (None, Some(101), "limit"), (Some("x"), None, "after")]
        {
            let problem = read(after, limit).unwrap_err().to_value();
            assert_eq!(
                (problem["code"].as_str(), problem["field"].as_str()),
                (Some("validation_failed"), Some(field))
            );
        }
    }
}
