package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.hub.HubModel;
import dev.trivet.hub.HubSnapshot;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/** {@code trivet pull}: a pretrained model from the Hugging Face hub into the cache that all its tools share. */
@Command(
        name = "pull",
        description = "Fetches config and weights of a Hugging Face model into the cache, and checks them.",
        mixinStandardHelpOptions = true,
        footer = {
            "",
            "Every command takes such a NAME where it takes MODEL. HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and"
                    + " HF_HUB_OFFLINE mean what they mean to Hugging Face's own tools, which share the cache."
        })
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class PullCommand implements Callable<Integer> {
    @Mixin
    OutputOptions common;

    @Parameters(
            paramLabel = "NAME",
            description = "Such as timm/deit_tiny_patch16_224.fb_in1k; @REVISION for a branch, tag or commit.")
    String name;

    @Override
    public Integer call() {
        HubModel model = HubModel.parse(name)
                .orElseThrow(() -> new BadInputException(
                        name + ": is not a name on the hub; give one such as timm/deit_tiny_patch16_224.fb_in1k"));
        HubSnapshot snapshot = ModelArgument.pull(common, model);
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("name", model.id());
        fields.put("revision", model.revision());
        fields.put("commit", snapshot.commit());
        fields.put("path", snapshot.folder().toString());
        fields.put("bytes", snapshot.bytes());
        fields.put("files", snapshot.files());
        common.print(fields, () -> {
            Table table = new Table("file", "bytes", "SHA-256");
            snapshot.files().forEach(file -> table.row(file.name(), String.valueOf(file.bytes()), file.sha256()));
            table.print(common.out());
            common.out().printf(Locale.ROOT, "%s, commit %s: %s%n", model, snapshot.commit(), snapshot.folder());
        });
        return 0;
    }
}
