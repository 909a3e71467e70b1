package dev.trivet.tensor;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.Tuple;
import net.jqwik.api.lifecycle.AfterProperty;
import net.jqwik.api.lifecycle.BeforeProperty;
import net.jqwik.api.statistics.Statistics;

class SafetensorsPropertiesTest {
    private Path folder = Path.of("");

    @BeforeProperty
    void makeFolder() throws IOException {
        folder = Files.createTempDirectory("safetensors");
        // Loading the classes allocates more than any file does.
        byte[] sound = HandBuilt.bytes(HEADER, new byte[DATA_BYTES]);
        readAll(HandBuilt.write(folder.resolve("sound.safetensors"), sound), sound.length);
        readAll(HandBuilt.write(folder.resolve("empty.safetensors"), new byte[9]), 9);
    }

    @AfterProperty
    void removeFolder() throws IOException {
        try (var files = Files.list(folder)) {
            for (Path file : files.toList()) {
                Files.delete(file);
            }
        }
        Files.delete(folder);
    }

    // ---- round trip

    /** Any Unicode text, with more than its share of what JSON must escape. */
    private static Arbitrary<String> texts() {
        Arbitrary<Integer> awkward = Arbitraries.of(
                (int) '"', (int) '\\', (int) '/', 0, (int) '\n', 0x1b, 0x7f, 0xfc, 0x2028, 0x6a21, 0xfeff, 0x1f600);
        Arbitrary<Integer> any = Arbitraries.integers()
                .between(0, Character.MAX_CODE_POINT)
                .filter(c -> c < Character.MIN_SURROGATE || c > Character.MAX_SURROGATE);
        Arbitrary<Integer> plain = Arbitraries.integers().between('a', 'e');
        return Arbitraries.oneOf(plain, awkward, any)
                .list()
                .ofMaxSize(6)
                .map(points -> points.stream()
                        .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append))
                .map(StringBuilder::toString);
    }

    private static Arbitrary<Tensor> tensors() {
        Arbitrary<List<Long>> shapes = Arbitraries.longs().between(0, 4).list().ofMaxSize(3);
        return Combinators.combine(texts(), Arbitraries.of(DType.class), shapes, Arbitraries.longs())
                .as((name, type, shape, seed) -> {
                    long elements = shape.stream().reduce(1L, (a, b) -> a * b);
                    byte[] data = new byte[(int) elements * type.bytes()];
                    new Random(seed).nextBytes(data);
                    return Tensor.ofBytes(
                            name, type, data, shape.stream().mapToLong(d -> d).toArray());
                });
    }

    @Provide
    Arbitrary<List<Tensor>> checkpoints() {
        return tensors().list().ofMaxSize(6).uniqueElements(Tensor::name);
    }

    @Provide
    Arbitrary<Map<String, String>> metadata() {
        return Arbitraries.maps(texts(), texts()).ofMaxSize(4);
    }

    private static byte[] bytes(Tensor tensor) {
        return tensor.data().toArray(ValueLayout.JAVA_BYTE);
    }

    @Property(tries = 500)
    void whatIsWrittenIsRead(
            @ForAll("checkpoints") List<Tensor> checkpoint, @ForAll("metadata") Map<String, String> metadata) {
        Path path = folder.resolve("trip.safetensors");
        SafetensorsWriter.write(path, checkpoint, metadata);
        try (SafetensorsFile file = SafetensorsFile.open(path)) {
            assertThat(file.metadata()).isEqualTo(metadata);
            assertThat(file.names())
                    .containsExactlyInAnyOrderElementsOf(
                            checkpoint.stream().map(Tensor::name).toList());
            for (Tensor written : checkpoint) {
                Tensor read = file.find(written.name()).orElseThrow();
                assertThat(read.dtype()).isEqualTo(written.dtype());
                assertThat(read.shape()).isEqualTo(written.shape());
                assertThat(bytes(read)).isEqualTo(bytes(written));
                // A mapping starts at a page, so this is the alignment in the file.
                assertThat(read.data().address() % read.dtype().bytes()).isZero();
            }
        }
    }

    @Property(tries = 200)
    void sameContentInAnyOrderGivesTheSameBytes(
            @ForAll("checkpoints") List<Tensor> checkpoint,
            @ForAll("metadata") Map<String, String> metadata,
            @ForAll long seed)
            throws IOException {
        Path one = folder.resolve("one.safetensors");
        Path other = folder.resolve("other.safetensors");
        SafetensorsWriter.write(one, checkpoint, metadata);

        Random random = new Random(seed);
        List<Tensor> shuffled = new ArrayList<>(checkpoint);
        Collections.shuffle(shuffled, random);
        List<String> keys = new ArrayList<>(metadata.keySet());
        Collections.shuffle(keys, random);
        Map<String, String> reordered = new LinkedHashMap<>();
        keys.forEach(key -> reordered.put(key, metadata.getOrDefault(key, "")));
        SafetensorsWriter.write(other, shuffled, reordered);

        assertThat(Files.mismatch(one, other)).isEqualTo(-1);
    }

    // ---- damaged files

    private static final String HEADER = """
            {"__metadata__":{"format":"pt","by":"h\\u00e4nd"},\
            "head.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},\
            "scale":{"dtype":"F16","shape":[],"data_offsets":[24,26]},\
            "ids":{"dtype":"I64","shape":[1],"data_offsets":[26,34]},\
            "none":{"dtype":"BF16","shape":[0,5],"data_offsets":[34,34]},\
            "q":{"dtype":"I8","shape":[10],"data_offsets":[34,44]}}\s\s\s\s""";

    private static final int DATA_BYTES = 44;

    /** Far more than a header of a few hundred bytes needs, far less than any of the sizes that damage makes it claim. */
    private static final long MOST_ALLOCATED = 16 << 20;

    /** One act of damage; {@code at} and {@code value} pick the place and the new content. */
    enum Damage {
        FLIP {
            @Override
            String apply(String header, int at, int value) {
                int i = at % header.length();
                return header.substring(0, i)
                        + (char) (header.charAt(i) ^ (1 << (value % 8)))
                        + header.substring(i + 1);
            }
        },
        INSERT {
            @Override
            String apply(String header, int at, int value) {
                int i = at % (header.length() + 1);
                return header.substring(0, i) + (char) (value % 256) + header.substring(i);
            }
        },
        INSERT_SYNTAX {
            @Override
            String apply(String header, int at, int value) {
                int i = at % (header.length() + 1);
                return header.substring(0, i) + "{}[]\",:-.e0\\".charAt(value % 12) + header.substring(i);
            }
        },
        DELETE {
            @Override
            String apply(String header, int at, int value) {
                int i = at % header.length();
                return header.substring(0, i) + header.substring(Math.min(header.length(), i + 1 + value % 4));
            }
        },
        NUMBER {
            private static final List<String> NUMBERS = List.of(
                    "0",
                    "1",
                    "44",
                    "-1",
                    "1073741824",
                    "2147483648",
                    "4611686018427387904",
                    "9223372036854775807",
                    "9223372036854775808",
                    "18446744073709551616",
                    "1e400",
                    "1.5",
                    "00",
                    "9".repeat(1500));

            @Override
            String apply(String header, int at, int value) {
                List<int[]> numbers = spans("(?<=[\\[,])\\d+", header);
                return numbers.isEmpty()
                        ? header
                        : replace(header, numbers.get(at % numbers.size()), NUMBERS.get(value % NUMBERS.size()));
            }
        },
        SWAP_RANGES {
            @Override
            String apply(String header, int at, int value) {
                List<int[]> lists = spans("\\[[\\d,]*\\]", header);
                if (lists.size() < 2) {
                    return header;
                }
                int i = at % (lists.size() - 1);
                int[] first = lists.get(i);
                int[] second = lists.get(i + 1 + value % (lists.size() - 1 - i));
                String swapped = replace(header, second, header.substring(first[0], first[1]));
                return replace(swapped, first, header.substring(second[0], second[1]));
            }
        },
        DTYPE {
            @Override
            String apply(String header, int at, int value) {
                List<int[]> types = spans("(?<=\")([FIU]\\d+|BF16)(?=\")", header);
                List<String> others = List.of("F64", "F32", "I32", "BF16", "I8", "BOOL", "F4", "f32", "");
                return types.isEmpty()
                        ? header
                        : replace(header, types.get(at % types.size()), others.get(value % others.size()));
            }
        };

        abstract String apply(String header, int at, int value);

        private static List<int[]> spans(String pattern, String text) {
            return java.util.regex.Pattern.compile(pattern)
                    .matcher(text)
                    .results()
                    .map(m -> new int[] {m.start(), m.end()})
                    .toList();
        }

        private static String replace(String text, int[] span, String by) {
            return text.substring(0, span[0]) + by + text.substring(span[1]);
        }
    }

    @Provide
    Arbitrary<byte[]> damagedFiles() {
        Arbitrary<Integer> number = Arbitraries.integers().between(0, 1 << 20).withoutEdgeCases();
        Arbitrary<String> headers = Combinators.combine(Arbitraries.of(Damage.class), number, number)
                .as(Tuple::of)
                .list()
                .ofMaxSize(4)
                .map(acts -> {
                    String header = HEADER;
                    for (var act : acts) {
                        header = header.isEmpty() ? header : act.get1().apply(header, act.get2(), act.get3());
                    }
                    return header;
                });
        Arbitrary<Integer> dataBytes = Arbitraries.frequencyOf(
                Tuple.of(8, Arbitraries.just(DATA_BYTES)),
                Tuple.of(1, Arbitraries.integers().between(0, 100)));
        // 0: the header's true length.
        Arbitrary<Long> claims = Arbitraries.frequencyOf(
                Tuple.of(12, Arbitraries.just(0L)),
                Tuple.of(1, Arbitraries.longs()),
                Tuple.of(1, Arbitraries.longs().between(0, 500)),
                Tuple.of(1, Arbitraries.longs().between(90_000_000, 110_000_000)));
        return Combinators.combine(headers, dataBytes, claims).as((header, size, claim) -> {
            byte[] json = header.getBytes(StandardCharsets.ISO_8859_1);
            return HandBuilt.withLength(claim == 0 ? json.length : claim, json, new byte[size]);
        });
    }

    @Property(tries = 4000)
    void damagedFileIsRefusedOrReadWithinItsBounds(@ForAll("damagedFiles") byte[] bytes) {
        Path path = HandBuilt.write(folder.resolve("damaged.safetensors"), bytes);
        long before = allocated();
        String outcome = readAll(path, bytes.length);
        assertThat(allocated() - before).isLessThan(MOST_ALLOCATED);
        Statistics.label("damaged file").collect(outcome).coverage(all -> {
            all.check("accepted").percentage(p -> p > 1);
            all.check("refused").percentage(p -> p > 10);
        });
    }

    /** Prefixes of a sound file, all of them. */
    @Property
    void truncatedFileIsRefused(@ForAll @net.jqwik.api.constraints.IntRange(max = 401) int length) {
        byte[] whole = HandBuilt.bytes(HEADER, new byte[DATA_BYTES]);
        assertThat(whole).hasSize(402);
        Path path = HandBuilt.write(folder.resolve("cut.safetensors"), java.util.Arrays.copyOf(whole, length));
        assertThat(readAll(path, length)).isEqualTo("refused");
    }

    @Property
    void anyBytesAreRefusedOrRead(@ForAll byte[] bytes) {
        Path path = HandBuilt.write(folder.resolve("noise.safetensors"), bytes);
        readAll(path, bytes.length);
    }

    /** Opens the file and touches each tensor's ends; any exception but BadInputException escapes and fails the test. */
    private static String readAll(Path path, long fileBytes) {
        try (SafetensorsFile file = SafetensorsFile.open(path)) {
            long total = 0;
            for (String name : file.names()) {
                total += unreadable(file, name) ? 0 : touch(file.find(name).orElseThrow());
            }
            assertThat(total).isLessThanOrEqualTo(file.dataBytes());
            assertThat(file.dataBytes()).isLessThan(fileBytes - 8);
            return "accepted";
        } catch (BadInputException e) {
            assertThat(e).hasMessageStartingWith(path + ": ").hasMessageNotContainingAny("\n", "\r");
            assertThat(String.valueOf(e.getMessage())).hasSizeLessThan(1000);
            return "refused";
        }
    }

    private static boolean unreadable(SafetensorsFile file, String name) {
        try {
            file.find(name);
            return false;
        } catch (BadInputException e) {
            assertThat(e).hasMessageContaining("has element type");
            return true;
        }
    }

    private static long touch(Tensor tensor) {
        long elements = 1;
        for (long d : tensor.shape()) {
            assertThat(d).isNotNegative();
            elements *= d;
        }
        assertThat(tensor.data().byteSize()).isEqualTo(elements * tensor.dtype().bytes());
        if (elements > 0) {
            assertThat(tensor.floatAt(0)).isZero();
            assertThat(tensor.floatAt(elements - 1)).isZero();
        }
        return tensor.data().byteSize();
    }

    private static long allocated() {
        return ((com.sun.management.ThreadMXBean) java.lang.management.ManagementFactory.getThreadMXBean())
                .getCurrentThreadAllocatedBytes();
    }
}
