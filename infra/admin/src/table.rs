//! Tables of text that can be pasted into Markdown.

/// Renders a header and rows with their columns aligned to the right.
pub(crate) fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|name| name.chars().count())).max().unwrap_or_default().max(2)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:>width$} "));
        format!("|{}|\n", padded.collect::<Vec<_>>().join("|"))
    };
    let names: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let rule: Vec<String> = widths.iter().map(|width| format!("{}:", "-".repeat(width - 1))).collect();
    [names, rule].iter().chain(rows).map(|cells| line(cells)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let text = render(&["function", "MB"], &[vec!["api".to_owned(), "12.25".to_owned()]]);
        assert_eq!(text, "| function |    MB |\n| -------: | ----: |\n|      api | 12.25 |\n");
    }
}
