package dev.trivet.hub;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ContentHashTest {
    @TempDir
    Path temp;

    /** Values by {@code git hash-object} and {@code sha256sum}. */
    @ParameterizedTest
    @CsvSource({
        "'', e69de29bb2d1d6434b8b29ae775ad8c2e48c5391, e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "hello, ce013625030ba8dba906f756967f9e9ca394464a, 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    })
    void hashesAsGitAndTheHubDo(String text, String git, String sha256) throws IOException {
        Path file = Files.writeString(temp.resolve("file"), text.isEmpty() ? "" : text + "\n");
        ContentHash asGit = ContentHash.of(file, git);
        assertThat(asGit.git()).contains(git);
        assertThat(asGit.sha256()).isEqualTo(sha256);
        assertThat(asGit.bytes()).isEqualTo(Files.size(file));
        assertThat(asGit.matches(git)).isTrue();
        assertThat(ContentHash.of(file, sha256).matches(sha256)).isTrue();
        assertThat(asGit.matches(git.replace(git.charAt(0), '0'))).isFalse();
    }

    @ParameterizedTest
    @CsvSource({
        "ce013625030ba8dba906f756967f9e9ca394464a, true",
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03, true",
        "CE013625030ba8dba906f756967f9e9ca394464a, false",
        "../../../../etc/passwd, false",
        "'', false",
        "9bb58f26192e4ba00f01e2e7b136bbd8, false"
    })
    void takesNothingElseForAHash(String etag, boolean hash) {
        assertThat(ContentHash.isHash(etag)).isEqualTo(hash);
    }
}
