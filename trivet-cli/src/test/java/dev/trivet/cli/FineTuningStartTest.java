package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.data.CifarImages;
import dev.trivet.format.ModelFile;
import dev.trivet.model.VitModel;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FineTuningStartTest {
    private final VitModel model =
            ModelFile.read(Fixtures.golden(Fixtures.VIT), Optional.empty()).model();
    private final StringWriter said = new StringWriter();

    @TempDir
    private Path folder;

    private VitModel start(VitModel from) {
        return FineTuningStart.of(from, folder, new PrintWriter(said));
    }

    private List<String> folders(int count) {
        Fixtures.imageFolder(folder.resolve("train"), count, 1);
        return java.util.stream.IntStream.range(0, count).mapToObj(i -> "k" + i).toList();
    }

    @Test
    void keepsTheHeadWhereTheClassesAreTheModels() {
        List<String> names = folders(model.geometry().classes());
        VitModel named = model.withLabels(names);
        assertThat(start(named)).isSameAs(named);
        assertThat(start(model)).isSameAs(model);
        assertThat(said.toString()).isEmpty();
    }

    @Test
    void replacesTheHeadWhereThereAreOtherClasses() {
        List<String> names = folders(model.geometry().classes());
        List<String> reversed = names.reversed();
        VitModel other = start(model.withLabels(reversed));
        assertThat(other.config().labels()).isEqualTo(names);
        assertThat(said.toString()).contains("is replaced by a new one for " + names.size() + " classes");
    }

    @Test
    void takesTheClassesOfCifar() throws IOException {
        Files.write(folder.resolve("data_batch_1.bin"), new byte[3073]);
        VitModel other = start(model.forClasses(List.of("yes", "no")));
        assertThat(other.config().labels()).isEqualTo(CifarImages.CLASSES);
        assertThat(other.linear("head").outputs()).isEqualTo(10);
    }
}
