package snowtest

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"net/http"
)

// This file is the encryption of files by clients. A client makes a key for each file that it
// sends, encrypts the file with it, and the key with the stage's, and sends both with the file.
// Places have the files in the clear.

// masterKey is the key of all stages; an account has one for each.
const masterKey = "16 bytes of key."

// encryptionMaterial is what a client is told, for one file.
func encryptionMaterial(queryID string) map[string]any {
	return map[string]any{"queryStageMasterKey": base64.StdEncoding.EncodeToString([]byte(masterKey)), "queryId": queryID, "smkId": 1}
}

// fileKey is what is sent with a file, in the form that Azure's and Google's stores have.
type fileKey struct {
	WrappedContentKey   struct{ EncryptedKey string }
	ContentEncryptionIV string
}

// keyHeaders hold it, and those of S3 its two parts.
const (
	googleKey = "X-Goog-Meta-Encryptiondata"
	azureKey  = "X-Ms-Meta-Encryptiondata"
	s3Key     = "X-Amz-Meta-X-Amz-Key"
	s3IV      = "X-Amz-Meta-X-Amz-Iv"
)

// decrypted is a file in the clear: as it came, if nothing was sent with it.
func decrypted(content []byte, sent http.Header) ([]byte, bool) {
	k := fileKey{ContentEncryptionIV: sent.Get(s3IV)}
	k.WrappedContentKey.EncryptedKey = sent.Get(s3Key)
	if data := cmp.Or(sent.Get(googleKey), sent.Get(azureKey)); data != "" && json.Unmarshal([]byte(data), &k) != nil {
		return nil, false
	}
	if k.ContentEncryptionIV == "" {
		return content, true
	}
	wrapped, err := base64.StdEncoding.DecodeString(k.WrappedContentKey.EncryptedKey)
	iv, err2 := base64.StdEncoding.DecodeString(k.ContentEncryptionIV)
	if err != nil || err2 != nil || len(wrapped) < aes.BlockSize || len(iv) != aes.BlockSize || len(content) == 0 || len(content)%aes.BlockSize != 0 {
		return nil, false
	}
	key, plain := make([]byte, aes.BlockSize), make([]byte, len(content))
	blockOf(masterKey).Decrypt(key, wrapped) // behind it is nothing but padding
	cipher.NewCBCDecrypter(blockOf(string(key)), iv).CryptBlocks(plain, content)
	padding := int(plain[len(plain)-1])
	return plain[:max(len(plain)-padding, 0)], padding <= aes.BlockSize
}

// encrypted is a file as a client fetches it, and what it is told with it. The key and the
// vector are parts of a secret, so that all requests for parts of a file meet the same bytes.
func encrypted(content []byte, secret string) ([]byte, http.Header) {
	key, iv := secret[:aes.BlockSize], []byte(secret[aes.BlockSize:])
	sealed := padded(content)
	cipher.NewCBCEncrypter(blockOf(key), iv).CryptBlocks(sealed, sealed)
	wrapped := padded([]byte(key))
	for rest := wrapped; len(rest) > 0; rest = rest[aes.BlockSize:] {
		blockOf(masterKey).Encrypt(rest, rest)
	}
	var k fileKey
	k.WrappedContentKey.EncryptedKey = base64.StdEncoding.EncodeToString(wrapped)
	k.ContentEncryptionIV = base64.StdEncoding.EncodeToString(iv)
	data, _ := json.Marshal(k) // of strings
	return sealed, http.Header{googleKey: {string(data)}, azureKey: {string(data)}, s3Key: {k.WrappedContentKey.EncryptedKey}, s3IV: {k.ContentEncryptionIV}}
}

func padded(content []byte) []byte {
	n := aes.BlockSize - len(content)%aes.BlockSize
	return append(bytes.Clone(content), bytes.Repeat([]byte{byte(n)}, n)...)
}

func blockOf(key string) cipher.Block {
	b, _ := aes.NewCipher([]byte(key)) // fails for other lengths only
	return b
}
