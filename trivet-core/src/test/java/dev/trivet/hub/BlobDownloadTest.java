package dev.trivet.hub;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Connections that break, servers that lie, disks that are full, processes that are killed or many. */
class BlobDownloadTest {
    private static final String WEIGHTS = "model.safetensors";

    @TempDir
    Path home;

    private final FakeHub hub = new FakeHub();
    private final Pulls pulls = new Pulls();
    private final byte[] weights = hub.file(WEIGHTS);

    @AfterEach
    void stop() {
        hub.close();
    }

    private Path blob() {
        return home.resolve("hub/models--timm--vit_micro.test/blobs").resolve(hub.etag(WEIGHTS));
    }

    private Path part() {
        return blob().resolveSibling(hub.etag(WEIGHTS) + ".incomplete");
    }

    private void leave(byte[] bytes) throws IOException {
        Files.createDirectories(blob().getParent());
        Files.write(part(), bytes);
    }

    private void pullsTheRightBytes() {
        Path folder = pulls.pull(hub.settings(home)).folder();
        assertThat(folder.resolve(WEIGHTS)).hasBinaryContent(weights);
        assertThat(part()).doesNotExist();
    }

    private List<String> transfers() {
        return hub.requests().stream()
                .filter(request -> request.startsWith("store"))
                .toList();
    }

    @Test
    void goesOnWhereAnotherCallStopped() throws IOException {
        leave(Arrays.copyOf(weights, 100_001));
        pullsTheRightBytes();
        assertThat(transfers()).containsExactly("store GET model.safetensors bytes=100001-");
        assertThat(pulls.starts).contains(100_001L);
        // The hub has the entity tag that was asked for; the store has another, and would send everything.
        assertThat(hub.seen)
                .filteredOn(request -> request.header("Range").isPresent())
                .allSatisfy(request -> assertThat(request.header("If-Range"))
                        .isEqualTo(
                                request.atHub()
                                        ? java.util.Optional.of("\"" + hub.etag(WEIGHTS) + "\"")
                                        : java.util.Optional.empty()));
    }

    @Test
    void goesOnWithASmallFileFromTheHubItself() throws IOException {
        byte[] config = hub.file("config.json");
        Files.createDirectories(blob().getParent());
        Files.write(blob().resolveSibling(FakeHub.git(config) + ".incomplete"), Arrays.copyOf(config, 10));
        pullsTheRightBytes();
        assertThat(hub.requests()).contains("hub GET config.json bytes=10-");
    }

    @Test
    void fetchesNothingWhereOnlyTheNameIsMissing() throws IOException {
        leave(weights);
        pullsTheRightBytes();
        assertThat(transfers()).isEmpty();
    }

    @Test
    void beginsAgainWhereTheRestIsDamaged() throws IOException {
        leave(FakeHub.bytes(100_000, 5));
        pullsTheRightBytes();
        assertThat(transfers())
                .containsExactly("store GET model.safetensors bytes=100000-", "store GET model.safetensors");
        assertThat(pulls.notes).anyMatch(note -> note.contains("damaged; fetching it again"));
    }

    @Test
    void beginsAgainWhereTheRestIsTooLong() throws IOException {
        leave(Arrays.copyOf(weights, weights.length + 1));
        pullsTheRightBytes();
        assertThat(transfers()).containsExactly("store GET model.safetensors");
    }

    @Test
    void takesAllWhereTheServerKnowsNoRanges() throws IOException {
        leave(Arrays.copyOf(weights, 100));
        hub.instead("store GET model.safetensors", FakeHub.wrong(weights));
        pullsTheRightBytes();
        assertThat(transfers()).hasSize(1);
    }

    @Test
    void beginsAgainWhereTheServerHasNoSuchRange() throws IOException {
        leave(Arrays.copyOf(weights, 100));
        hub.instead("store GET model.safetensors", FakeHub.status(416));
        pullsTheRightBytes();
        assertThat(transfers()).last().isEqualTo("store GET model.safetensors");
    }

    @Test
    void beginsAgainWhereTheServerSendsAnotherRange() throws IOException {
        leave(Arrays.copyOf(weights, 100));
        hub.instead("store GET model.safetensors", FakeHub.status(206, "Content-Range", "bytes 7-299999/300000"));
        pullsTheRightBytes();
        assertThat(transfers()).last().isEqualTo("store GET model.safetensors");
    }

    private static int firstByte(String transfer) {
        return Integer.parseInt(transfer.replaceAll("store GET model\\.safetensors bytes=(\\d+)-", "$1"));
    }

    @Test
    void goesOnWhenTheConnectionBreaksOff() {
        hub.instead(
                "store GET model.safetensors",
                hub.partly(WEIGHTS, 70_000, () -> {}),
                hub.partly(WEIGHTS, 0, () -> {}),
                hub.partly(WEIGHTS, 100_000, () -> {}));
        pullsTheRightBytes();
        assertThat(transfers()).hasSize(4).first().isEqualTo("store GET model.safetensors");
        List<Integer> asked =
                transfers().stream().skip(1).map(BlobDownloadTest::firstByte).toList();
        // Java's client may throw away what had arrived but was not read when it sees the break, so a little less can
        // be there.
        assertThat(asked.get(0)).isBetween(1, 70_000);
        assertThat(asked.get(1)).isEqualTo(asked.get(0));
        assertThat(asked.get(2)).isBetween(asked.get(0) + 1, asked.get(0) + 100_000);
        assertThat(pulls.waits).containsExactly(Duration.ofSeconds(1), Duration.ofSeconds(2), Duration.ofSeconds(1));
    }

    @Test
    void givesUpOnAConnectionThatAlwaysBreaksAndKeepsWhatCame() throws IOException {
        hub.always("store GET model.safetensors", hub.partly(WEIGHTS, 1000, () -> {}));
        assertThatThrownBy(() -> pulls.pull(hub.settings(home)))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("cannot be reached");
        // At most what the server sent (see above), and a beginning of the file.
        byte[] kept = Files.readAllBytes(part());
        assertThat(kept).hasSizeBetween(0, 5000).isEqualTo(Arrays.copyOf(weights, kept.length));
        assertThat(blob()).doesNotExist();
    }

    @Test
    void goesOnWhenNothingComes() {
        CountDownLatch end = new CountDownLatch(1);
        hub.instead("store GET model.safetensors", hub.partly(WEIGHTS, 70_000, () -> {
            try {
                end.await();
            } catch (InterruptedException _) {
                Thread.currentThread().interrupt();
            }
        }));
        HubSettings settings = hub.settings(home, "HF_HUB_DOWNLOAD_TIMEOUT", "1");
        assertThat(pulls.pull(settings).folder().resolve(WEIGHTS)).hasBinaryContent(weights);
        end.countDown();
        assertThat(transfers()).last().isEqualTo("store GET model.safetensors bytes=70000-");
        assertThat(pulls.notes).anyMatch(note -> note.contains("nothing came for 1 s; trying again"));
    }

    @Test
    void waitsAsLongAsTheServerAsks() {
        hub.instead("hub GET listing", FakeHub.status(429, "Retry-After", "55"));
        hub.instead("hub HEAD config.json", FakeHub.status(503), FakeHub.status(500), FakeHub.status(502));
        hub.instead("store GET model.safetensors", FakeHub.status(429, "Retry-After", "7"), FakeHub.status(403));
        pullsTheRightBytes();
        assertThat(pulls.waits).extracting(Duration::toSeconds).containsExactly(55L, 1L, 2L, 4L, 7L, 2L);
    }

    @Test
    void doesNotWaitForHours() {
        hub.always("hub GET listing", FakeHub.status(429, "Retry-After", "7200"));
        assertThatThrownBy(() -> pulls.pull(hub.settings(home)))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("asks to wait 7200 s");
        assertThat(pulls.waits).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(ints = {299_999, 300_001, 0})
    void refusesALengthThatWasNotNamed(int length) {
        hub.always("store GET model.safetensors", exchange -> {
            exchange.sendResponseHeaders(200, length == 0 ? -1 : length);
            exchange.getResponseBody().write(new byte[length]);
        });
        assertThatThrownBy(() -> pulls.pull(hub.settings(home)))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("comes with " + length + " bytes where the hub names 300000");
        assertThat(transfers()).hasSize(1);
    }

    @Test
    void stopsAServerThatSendsWithoutEnd() {
        hub.always("store GET model.safetensors", exchange -> {
            exchange.sendResponseHeaders(200, 0); // in chunks
            for (int i = 0; i < 1000; i++) {
                exchange.getResponseBody().write(new byte[10_000]);
            }
        });
        assertThatThrownBy(() -> pulls.pull(hub.settings(home)))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("more than the 300000 bytes");
        assertThat(blob()).doesNotExist();
    }

    @ParameterizedTest
    @CsvSource({"store GET model.safetensors, model.safetensors", "hub GET config.json, config.json"})
    void refusesOtherBytesThanTheHubNames(String request, String name) {
        byte[] wrong = hub.file(name).clone();
        wrong[wrong.length / 2] ^= 1;
        hub.instead(request, FakeHub.wrong(wrong));
        assertThatThrownBy(() -> pulls.pull(hub.settings(home)))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining(name)
                .hasMessageContaining(FakeHub.sha256(wrong))
                .hasMessageContaining(hub.etag(name));
        Path blobs = HubCache.parent(blob());
        assertThat(blobs.resolve(hub.etag(name))).doesNotExist();
        assertThat(blobs.resolve(hub.etag(name) + ".incomplete")).doesNotExist();
        pullsTheRightBytes();
    }

    @Test
    void saysThatThereIsNoRoom() {
        hub.sizes.put(WEIGHTS, 1L << 59);
        assertThatThrownBy(() -> pulls.pull(hub.settings(home)))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("has room for")
                .hasMessageContaining("set HF_HOME");
    }

    @Test
    void saysThatTheCacheCannotBeWritten() throws IOException {
        Files.createDirectories(home.resolve("hub"));
        Files.writeString(home.resolve("hub/models--timm--vit_micro.test"), "in the way");
        assertThatThrownBy(() -> pulls.pull(hub.settings(home)))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("cannot be written")
                .hasMessageContaining("HF_HOME");
    }

    private Process process(Path log) throws IOException {
        return new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        Pulls.class.getName(),
                        home.toString(),
                        hub.address())
                .redirectOutput(log.toFile())
                .redirectError(new File(log + ".err"))
                .start();
    }

    @Test
    void goesOnAfterAProcessThatWasKilled() throws Exception {
        CountDownLatch sent = new CountDownLatch(1);
        CountDownLatch killed = new CountDownLatch(1);
        hub.instead("store GET model.safetensors", hub.partly(WEIGHTS, 150_000, () -> {
            sent.countDown();
            try {
                killed.await();
            } catch (InterruptedException _) {
                Thread.currentThread().interrupt();
            }
        }));
        Process process = process(home.resolve("log"));
        try {
            sent.await();
            while (!Files.exists(part()) || Files.size(part()) < 100_000) { // what was sent has to arrive
                assertThat(process.isAlive()).isTrue();
                Thread.sleep(10);
            }
        } finally {
            process.destroyForcibly().waitFor();
            killed.countDown();
        }
        assertThat(blob()).doesNotExist();
        long left = Files.size(part());
        pullsTheRightBytes();
        assertThat(transfers()).last().isEqualTo("store GET model.safetensors bytes=" + left + "-");
    }

    @Test
    void letsTwoProcessesFetchOnce() throws Exception {
        Process first = process(home.resolve("log1"));
        Process second = process(home.resolve("log2"));
        String expected = "model.safetensors " + FakeHub.sha256(weights);
        for (Process process : List.of(first, second)) {
            assertThat(process.waitFor()).isZero();
        }
        for (String log : List.of("log1", "log2")) {
            assertThat(Files.readString(home.resolve(log), StandardCharsets.UTF_8))
                    .contains(expected);
        }
        assertThat(transfers()).containsExactly("store GET model.safetensors");
    }

    @Test
    void letsManyThreadsFetchOnce() throws InterruptedException, ExecutionException {
        try (ExecutorService threads = Executors.newFixedThreadPool(4)) {
            List<Future<HubSnapshot>> all =
                    threads.invokeAll(java.util.Collections.nCopies(4, () -> new Pulls().pull(hub.settings(home))));
            for (Future<HubSnapshot> one : all) {
                assertThat(one.get().files()).hasSize(2);
            }
        }
        assertThat(transfers()).containsExactly("store GET model.safetensors");
    }
}
