package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import org.junit.jupiter.api.Test;

class TableTest {
    @Test
    void setsNamesLeftAndFiguresRight() {
        Table table = new Table("layer", "MB", "");
        table.row("head", "12.50", "ok");
        table.row("a longer name", "1.5", "");
        StringWriter out = new StringWriter();
        table.print(new PrintWriter(out, true));
        assertThat(out.toString().lines())
                .containsExactly("layer             MB", "head           12.50  ok", "a longer name    1.5");
    }
}
