package dev.trivet.cli.report;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;

/** Bits of every operator over depth: a table whose cells are the darker, the fewer the bits. */
final class BitsSection {
    private static final List<String> BLOCK_ROWS =
            List.of("attn.qkv", "attn.qk", "attn.av", "attn.proj", "mlp.fc1", "mlp.fc2");

    private final Markup page;
    private final VitModel model;

    BitsSection(Markup page, VitModel model) {
        this.page = page;
        this.model = model;
    }

    void write() {
        page.open("section", "id", "bits").leaf("h2", "Bits over depth");
        page.leaf(
                "p",
                "Darker means fewer bits; a dot means float32. The embedding's and the head's bits stand in the line below.");
        table("Weights", List.of("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"), true);
        table("Activations", BLOCK_ROWS, false);
        page.leaf(
                "p",
                "Patch embedding: " + edge(VitNames.PATCH_EMBEDDING) + ". Head: " + edge(VitNames.HEAD)
                        + (model.vit().distilled() ? ", distillation head: " + edge(VitNames.DISTILLATION_HEAD) : "")
                        + ".");
        page.close();
    }

    private String edge(String operator) {
        return switch (model.linear(operator)) {
            case LinearLayer.Float32 _ -> "float32";
            case LinearLayer.Quantized q ->
                "weights " + q.bits() + " bits, input " + q.input().bits() + " bits";
        };
    }

    private void table(String caption, List<String> rows, boolean weights) {
        page.open("div", "class", "scroll").open("table", "class", "bits").leaf("caption", caption);
        page.open("thead").open("tr").leaf("th", "block", "scope", "col");
        for (int b = 0; b < model.vit().depth(); b++) {
            page.leaf("th", String.valueOf(b), "scope", "col");
        }
        page.close().close().open("tbody");
        for (String row : rows) {
            page.open("tr").leaf("th", row, "scope", "row");
            for (int b = 0; b < model.vit().depth(); b++) {
                cell(bits(VitNames.block(b) + "." + row, weights));
            }
            page.close();
        }
        page.close().close().close();
    }

    private void cell(List<Integer> bits) {
        boolean isFloat = bits.getFirst() == Float.SIZE;
        String text = isFloat
                ? "\u00b7"
                : String.join("/", bits.stream().map(String::valueOf).toList());
        page.leaf("td", text, "class", isFloat ? "b32" : "b" + bits.getFirst());
    }

    /** Different widths of the operator's operands, rising. */
    private List<Integer> bits(String operator, boolean weights) {
        TreeSet<Integer> bits = new TreeSet<>();
        if (model.matmuls().get(operator) instanceof MatmulQuantizers q) {
            bits.add(q.left().bits());
            bits.add(q.right().bits());
        } else if (model.linears().get(operator) instanceof LinearLayer.Quantized q) {
            bits.add(weights ? q.bits() : q.input().bits());
        } else {
            bits.add(Float.SIZE);
        }
        return new ArrayList<>(bits);
    }
}
